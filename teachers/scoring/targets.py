"""Target distributions: SCORES in, TARGETS out, by an ensemble of teachers that may be fitted.

T teachers, in the order of `scores_uris`; K candidates of one context.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from teachers.dataset import AlignedReader, Rows, write_rows
from teachers.records import TARGETS
from teachers.scoring.config import Normalisation, TargetsConfig
from teachers.scoring.ensemble import (
    Array,
    combine,
    fill_missing,
    fit_temperature_to_entropy,
    fit_temperature_to_gold,
    fit_weights,
    normalise,
    softmax,
    z_score,
)

# A target of which the largest probability exceeds this teaches one response, not a distribution.
_ONE_HOT = 0.999
# With so many contexts the error of a mean is a hundredth of the deviation: more change nothing.
_FITTED_CONTEXTS = 10_000


def write_targets(
    candidates_uri: str, scores_uris: dict[str, str], output_uri: str, config: TargetsConfig
) -> dict[str, Any]:
    """Write TARGETS for every row of CANDIDATES; `scores_uris` maps a teacher to its SCORES.

    Returns `with targets` and `without targets` (rows), `temperatures` and `weights` (by teacher), and
    `warning`, a line, where more than half of the training targets are all but one-hot.

    Raises:
        ValueError: see `fit_ensemble`.
    """
    training = scores_to_fit(candidates_uri, scores_uris, config, "train")
    validation = scores_to_fit(candidates_uri, scores_uris, config, "validation")
    ensemble = fit_ensemble(list(scores_uris), config, training, validation)
    counts = {"with targets": 0, "without targets": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for row, scores in scored_rows(candidates_uri, scores_uris, config.normalisation):
            probs = None if scores is None else ensemble.target_probs(comparable(scores, config))
            counts["without targets" if probs is None else "with targets"] += 1
            yield {**row, "target_probs": probs}

    write_rows(output_uri, rows(), TARGETS)
    warning = _one_hot_warning(ensemble, training)
    return {
        **counts,
        "temperatures": dict(zip(ensemble.teachers, ensemble.temperatures.tolist(), strict=True)),
        "weights": dict(zip(ensemble.teachers, ensemble.weights.tolist(), strict=True)),
        **({"warning": warning} if warning else {}),
    }


def scored_rows(
    candidates_uri: str, scores_uris: dict[str, str], normalisation: Normalisation
) -> Iterator[tuple[dict[str, Any], Array | None]]:
    """Yield each row of CANDIDATES with its normalised scores [T, K], None where no teacher scored it.

    A score that a teacher did not give, or that is not finite, is NaN.

    Raises:
        ValueError: SCORES are not of these candidates, or in another order.
    """
    tables = [AlignedReader(uri) for uri in scores_uris.values()]
    for row in Rows(candidates_uri):
        scores = np.full((len(tables), len(row["candidates"])), np.nan)
        for teacher, table in enumerate(tables):
            scored = table.row_for(row["example_id"])
            if scored is not None:
                scores[teacher] = _normalised(scored, normalisation)

        is_finite = np.isfinite(scores)
        yield row, np.where(is_finite, scores, np.nan) if is_finite.any() else None

    for table in tables:
        table.check_end()


def read_scores(
    candidates_uri: str, scores_uris: dict[str, str], normalisation: Normalisation, split: str
) -> Iterator[tuple[str, Array]]:
    """Yield (example_id, normalised scores [T, K]) of the rows of `split` that a teacher scored."""
    for row, scores in scored_rows(candidates_uri, scores_uris, normalisation):
        if scores is not None and row["split"] == split:
            yield row["example_id"], scores


def scores_to_fit(
    candidates_uri: str, scores_uris: dict[str, str], config: TargetsConfig, split: str
) -> list[Array]:
    """Return comparable scores [T, K] of the first contexts of `split`, as many as a fit needs."""
    scored = read_scores(candidates_uri, scores_uris, config.normalisation, split)
    return [comparable(scores, config) for _, scores in islice(scored, _FITTED_CONTEXTS)]


def _normalised(row: dict[str, Any], normalisation: Normalisation) -> Array:
    """Return one teacher's scores [K] from a row of SCORES."""
    if all(value is None for value in row["log_likelihood"]):
        return np.array(row["similarity"], dtype=np.float64)
    columns = ("log_likelihood", "prior", "tokens", "bytes")
    raw = [np.array(row[column], dtype=np.float64) for column in columns]
    return normalise(normalisation, *raw)


def comparable(scores: Array, config: TargetsConfig) -> Array:
    """Return normalised scores [T, K] as the softmax gets them: z-scored per teacher, if configured."""
    return np.stack([z_score(row) for row in scores]) if config.z_score else scores


@dataclass(frozen=True)
class Ensemble:
    """Teachers with a temperature [T] and a weight [T] each, combined into one distribution."""

    teachers: list[str]
    temperatures: Array
    weights: Array
    config: TargetsConfig

    def target_probs(self, scores: Array) -> Array | None:
        """Return the distribution [K] out of comparable scores [T, K]; None without any weighted teacher."""
        filled, kept = fill_missing(scores, self.config.missing)
        weights = self.weights[kept]
        if not weights.any():
            return None
        return combine(filled, self.temperatures[kept], weights, self.config.combination)


def fit_ensemble(
    teachers: list[str], config: TargetsConfig, training: list[Array], validation: list[Array]
) -> Ensemble:
    """Return the ensemble of `config`, with temperatures and weights fitted where it asks for that.

    `training` and `validation` are the comparable scores [T, K] of the two splits' scored contexts. A
    temperature is fitted to the contexts that its teacher scored, weights to those that all scored.

    Raises:
        ValueError: there are no such contexts, `targets.entropy` is out of reach, or a weight is negative.
    """
    contexts = training if config.temperature == "entropy" else validation
    fitted: list[float] = []
    for index, name in enumerate(teachers):
        fitted.append(_temperature(name, config, scores_of(index, contexts, config)))
    temperatures = np.array(fitted)

    if isinstance(config.weights, dict):
        weights = np.array([config.weights.get(teacher, 1.0) for teacher in teachers])
        if (weights < 0).any():
            raise ValueError(f"targets.weights = {config.weights}: a weight is negative")
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

    return Ensemble(teachers, temperatures, weights, config)


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
    """Return one teacher's scores [K], missing ones filled, of those `contexts` [T, K] that it scored."""
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
    softmaxes: list[Array] = []
    gaps: list[str] = []
    for index, teacher in enumerate(ensemble.teachers):
        temperature = ensemble.temperatures[index]
        teacher_gaps: list[float] = []
        for row in scores_of(index, contexts, config):
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

    unit = "standard deviations" if config.z_score else "nats or units of similarity"
    return (
        f"{target_share:.0%} of the training targets and {softmax_share:.0%} of the teachers' softmaxes are "
        f"one-hot (a probability above {_ONE_HOT}); median gap of best to second-best score, in {unit}: "
        f"{', '.join(gaps)}; raise targets.temperature"
    )


def _one_hot_share(distributions: list[Array]) -> float:
    return float(np.mean([probs.max() > _ONE_HOT for probs in distributions])) if distributions else 0.0
