"""Target distributions: SCORES in, TARGETS out, by an ensemble of teachers that may be fitted.

T teachers, in the order of `scores_uris`; K candidates of one context.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from teachers.dataset import write_rows
from teachers.records import TARGETS
from teachers.scoring.config import TargetsConfig
from teachers.scoring.ensemble import (
    Array,
    combine,
    fill_missing,
    fit_temperature_to_entropy,
    fit_temperature_to_gold,
    fit_weights,
    has_score,
    mean_deviation,
    scale_scores,
    softmax,
)
from teachers.scoring.scored_rows import read_ranked_scores, scored_rows

# A target of which the largest probability exceeds this teaches one response, not a distribution.
_ONE_HOT = 0.999
# With so many contexts the error of a mean is a hundredth of the deviation: more change nothing.
_FITTED_CONTEXTS = 10_000


def write_targets(
    candidates_uri: str, scores_uris: dict[str, str], output_uri: str, config: TargetsConfig
) -> dict[str, Any]:
    """Write TARGETS for every row of CANDIDATES; `scores_uris` maps a teacher to its SCORES.

    Returns `with targets` and `without targets` (rows), `copies left out` (candidates without a target, since
    they nearly copy a turn of their context), `temperatures` and `weights` (by teacher), and `warning`, a
    line, where more than half of the training targets are all but one-hot.

    Raises:
        ValueError: see `fit_ensemble`.
    """
    training = scores_to_fit(candidates_uri, scores_uris, config, "train")
    validation = scores_to_fit(candidates_uri, scores_uris, config, "validation")
    ensemble = fit_ensemble(list(scores_uris), config, training, validation)
    counts = {"with targets": 0, "without targets": 0, "copies left out": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for scored in scored_rows(candidates_uri, scores_uris, config.normalisation):
            probs = None if scored.scores is None else ensemble.target_probs(scored.scores)
            counts["without targets" if probs is None else "with targets"] += 1
            counts["copies left out"] += scored.num_copies
            yield {**scored.row, "target_probs": None if probs is None else _with_nulls(probs)}

    write_rows(output_uri, rows(), TARGETS)
    warning = _one_hot_warning(ensemble, training)
    return {
        **counts,
        "temperatures": dict(zip(ensemble.teachers, ensemble.temperatures.tolist(), strict=True)),
        "weights": dict(zip(ensemble.teachers, ensemble.weights.tolist(), strict=True)),
        **({"warning": warning} if warning else {}),
    }


def _with_nulls(probs: Array) -> list[float | None]:
    """Return the probabilities [K] with None in the place of NaN."""
    return [None if np.isnan(prob) else float(prob) for prob in probs]


def scores_to_fit(
    candidates_uri: str, scores_uris: dict[str, str], config: TargetsConfig, split: str
) -> list[Array]:
    """Return `read_ranked_scores` [T, K] of the first contexts of `split`, as many as a fit needs."""
    scores = read_ranked_scores(candidates_uri, scores_uris, config.normalisation, split)
    return list(islice(scores, _FITTED_CONTEXTS))


@dataclass(frozen=True)
class Ensemble:
    """Teachers, combined into one distribution."""

    teachers: list[str]
    deviations: Array
    """[T], the units of their scores where `config.scale` is `teacher`"""
    temperatures: Array
    """[T]"""
    weights: Array
    """[T]"""
    config: TargetsConfig

    def scaled(self, scores: Array) -> Array:
        """Return normalised scores [T, K] as the softmaxes get them."""
        return scale_scores(scores, self.config.scale, self.deviations)

    def target_probs(self, scores: Array) -> Array | None:
        """Return the distribution [K] out of normalised scores [T, K]; None without any weighted teacher.

        A candidate that no teacher scored takes no part: it has NaN, and the others' sum to one.
        """
        is_scored = has_score(scores)
        if not is_scored.any():
            return None

        filled, kept = fill_missing(self.scaled(scores[:, is_scored]), self.config.missing)
        weights = self.weights[kept]
        if not weights.any():
            return None

        probs = np.full(len(is_scored), np.nan)
        probs[is_scored] = combine(filled, self.temperatures[kept], weights, self.config.combination)
        return probs


def fit_ensemble(
    teachers: list[str], config: TargetsConfig, training: list[Array], validation: list[Array]
) -> Ensemble:
    """Return the ensemble of `config`, with deviations, temperatures and weights fitted where it says so.

    `training` and `validation` are the normalised scores [T, K] of the two splits' scored contexts. A
    deviation is that of `validation`, of `training` where there is none. A temperature is fitted to the
    contexts that its teacher scored, weights to those that all scored.

    Raises:
        ValueError: there are no such contexts, or `targets.entropy` is out of reach.
    """
    deviations = _deviations(teachers, config, validation or training)
    training = [scale_scores(scores, config.scale, deviations) for scores in training]
    validation = [scale_scores(scores, config.scale, deviations) for scores in validation]

    contexts = training if config.temperature == "entropy" else validation
    fitted: list[float] = []
    for index, name in enumerate(teachers):
        fitted.append(_temperature(name, config, scores_of(index, contexts, config)))
    temperatures = np.array(fitted)

    if isinstance(config.weights, dict):
        weights = np.array([config.weights.get(teacher, 1.0) for teacher in teachers])
    else:
        complete: list[Array] = []
        for scores in validation:
            filled, _ = fill_missing(scores, config.missing)
            if len(filled) == len(teachers):
                complete.append(filled)
        if not complete:
            raise ValueError(
                "targets.weights = validation: there is no validation context that every teacher scored; "
                "candidates.validation_contexts says how many they score"
            )
        weights = fit_weights(complete, temperatures, config.combination)

    return Ensemble(teachers, deviations, temperatures, weights, config)


def _deviations(teachers: list[str], config: TargetsConfig, contexts: list[Array]) -> Array:
    """Return the teachers' mean deviations [T] within a context, or ones where the scale is another."""
    if config.scale != "teacher":
        return np.ones(len(teachers))

    deviations: list[float] = []
    for index, teacher in enumerate(teachers):
        deviation = mean_deviation([scores[index] for scores in contexts])
        if np.isnan(deviation):
            raise ValueError(f"targets.scale = teacher: {teacher} scored no validation or training context")
        deviations.append(deviation)
    return np.array(deviations)


def _temperature(teacher: str, config: TargetsConfig, scores: list[Array]) -> float:
    if not isinstance(config.temperature, str):
        return config.temperature
    if config.temperature == "entropy":
        if not scores:
            raise ValueError(f"targets.temperature = entropy: {teacher} scored no training context")
        return fit_temperature_to_entropy(scores, config.entropy)
    if not scores:
        raise ValueError(
            f"targets.temperature = validation: {teacher} scored no validation context; "
            "candidates.validation_contexts says how many it scores"
        )
    return fit_temperature_to_gold(scores)


def scores_of(teacher: int, contexts: list[Array], config: TargetsConfig) -> list[Array]:
    """Return one teacher's scores [K], missing ones filled, of those scaled `contexts` [T, K] it scored."""
    filled: list[Array] = []
    for scores in contexts:
        filled.extend(fill_missing(scores[[teacher]], config.missing)[0])
    return filled


def _one_hot_warning(ensemble: Ensemble, contexts: list[Array]) -> str | None:
    """Return a line where more than half of the targets [K] out of `contexts` [T, K] are all but one-hot.

    Likewise where the teachers' softmaxes are and the combination mixes those: a mixture of one-hot
    teachers that disagree is not one-hot, but carries no more information.
    """
    config = ensemble.config
    scaled = [ensemble.scaled(scores) for scores in contexts]
    softmaxes: list[Array] = []
    gaps: list[str] = []
    for index, teacher in enumerate(ensemble.teachers):
        temperature = ensemble.temperatures[index]
        teacher_gaps: list[float] = []
        for row in scores_of(index, scaled, config):
            # A lone candidate's probability is 1 at any temperature.
            if len(row) > 1:
                softmaxes.append(softmax(row, temperature))
                teacher_gaps.append(np.ptp(np.sort(row)[-2:]))

        if teacher_gaps:
            gap = np.median(teacher_gaps)
            gaps.append(f"{teacher} {gap:.2f} at temperature {temperature:.3g}")

    targets: list[Array] = []
    for scores in contexts:
        probs = ensemble.target_probs(scores)
        if probs is not None and len(probs) > 1:
            targets.append(probs)

    mixes = config.combination in ("mean_of_distributions", "max")
    target_share = _one_hot_share(targets)
    softmax_share = _one_hot_share(softmaxes)
    if target_share <= 0.5 and not (mixes and softmax_share > 0.5):
        return None

    unit = "nats or units of similarity" if config.scale == "none" else "standard deviations"
    return (
        f"{target_share:.0%} of the training targets and {softmax_share:.0%} of the teachers' softmaxes are "
        f"one-hot (a probability above {_ONE_HOT}); median gap of best to second-best score, in {unit}: "
        f"{', '.join(gaps)}; raise targets.temperature"
    )


def _one_hot_share(distributions: list[Array]) -> float:
    return float(np.mean([probs.max() > _ONE_HOT for probs in distributions])) if distributions else 0.0
