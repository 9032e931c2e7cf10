"""Calibration of teachers and their ensemble: the rank of the gold response, entropy, agreement, own turns.

T teachers, in the order of `scores_uris`; K candidates of one context, gold first, and O own turns of it.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from teachers.scoring.config import Normalisation, TargetsConfig
from teachers.scoring.ensemble import Array, entropy, gold_cross_entropy, mean_deviation, softmax
from teachers.scoring.scored_rows import read_ranked_scores, read_scores_with_own_turns
from teachers.scoring.targets import Ensemble, fit_ensemble, scores_of, scores_to_fit

ScoresWithOwnTurns = tuple[Array, int]
"""Scores whose last axis has the K candidates and then the O own turns, and K."""


def calibrate(
    candidates_uri: str, scores_uris: dict[str, str], config: TargetsConfig, split: str
) -> dict[str, Any]:
    """Return measures of each teacher, of `ensemble` and of each `ensemble without NAME`, on `split`.

    Each has `hits@1/20` and `mrr` of the gold response (a tie counts against it), `entropy` (mean, nats)
    and `cross_entropy` (mean −log p(gold), nats) of its softened distributions, and `contexts`
    (count); a teacher also has `spread`, the mean over contexts of the standard deviation of its scores
    before they are scaled. `kendall_tau` has the mean over contexts of Kendall's tau-b of each pair of
    teachers, as `NAME × NAME`. What has no context to be measured on is left out.

    `own_turn>gold` is the share of contexts in which one of the conversation's two newest turns, a further
    candidate here alone, scores above the gold response. It compares pairs. The student's `own_turn@1` asks
    for more: there an own turn scores at least as high as every response of a set
    (`student.evaluation.response_ranking`).

    Temperatures and weights are those that `write_targets` gets; leaving a teacher out refits
    nothing. With `targets.temperature` or `targets.weights` fitted on validation, the measures on
    validation are of the very contexts that were fitted to, and flatter.

    Raises:
        ValueError: see `fit_ensemble`.
    """
    teachers = list(scores_uris)
    training = scores_to_fit(candidates_uri, scores_uris, config, "train")
    validation = scores_to_fit(candidates_uri, scores_uris, config, "validation")
    ensemble = fit_ensemble(teachers, config, training, validation)
    uris_and_normalisation = (candidates_uri, scores_uris, config.normalisation)
    contexts = list(read_ranked_scores(*uris_and_normalisation, split))
    with_own_turns = list(read_scores_with_own_turns(*uris_and_normalisation, split))
    scaled = [ensemble.scaled(scores) for scores in contexts]

    report: dict[str, Any] = {}
    for index, teacher in enumerate(teachers):
        if teacher_scores := scores_of(index, scaled, config):
            softened = [softmax(row, ensemble.temperatures[index]) for row in teacher_scores]
            report[teacher] = {
                **_measures(teacher_scores, softened),
                "spread": mean_deviation([scores[index] for scores in contexts]),
                **_own_turn_measure((scores[index], num_ranked) for scores, num_ranked in with_own_turns),
            }

    report |= _ensemble_measures("ensemble", ensemble, contexts, with_own_turns)
    for index, teacher in enumerate(teachers):
        without = _without(ensemble, index)
        others = [np.delete(scores, index, axis=0) for scores in contexts]
        turns = [(np.delete(scores, index, axis=0), num_ranked) for scores, num_ranked in with_own_turns]
        report |= _ensemble_measures(f"ensemble without {teacher}", without, others, turns)

    report["kendall_tau"] = _agreement(teachers, contexts)
    return report


def _ensemble_measures(
    name: str, ensemble: Ensemble, contexts: list[Array], with_own_turns: list[ScoresWithOwnTurns]
) -> dict[str, dict[str, float]]:
    """Return the measures of an ensemble by its name, none where it has no target on `contexts` [T, K]."""
    targets = _targets(ensemble, contexts)
    if not targets:
        return {}

    with_probs: list[ScoresWithOwnTurns] = []
    for scores, num_ranked in with_own_turns:
        probs = ensemble.target_probs(scores)
        if probs is not None:
            with_probs.append((probs, num_ranked))
    return {name: {**_measures(targets, targets), **_own_turn_measure(with_probs)}}


def _own_turn_measure(with_own_turns: Iterable[ScoresWithOwnTurns]) -> dict[str, float]:
    """Return `own_turn>gold` of contexts' scores [K + O], where the gold response and a turn have one."""
    prefers_own_turn: list[bool] = []
    for scores, num_ranked in with_own_turns:
        turn_scores = scores[num_ranked:]
        if not np.isnan(scores[0]) and not np.isnan(turn_scores).all():
            prefers_own_turn.append(bool(np.nanmax(turn_scores) > scores[0]))
    return {"own_turn>gold": float(np.mean(prefers_own_turn))} if prefers_own_turn else {}


def compare_ensembles(
    candidates_uri: str, scores_uris: dict[str, str], split: str, configs: list[TargetsConfig]
) -> list[dict[str, float]]:
    """Return `hits@1/20`, `mrr`, `entropy`, `cross_entropy` and `contexts` of each config on `split`.

    What a config fits is cross-fitted: on the even-numbered contexts for the odd-numbered ones, and the
    other way round. So no context is measured with a fit to itself.

    Raises:
        ValueError: no teacher scored a context of `split`, or see `fit_ensemble`.
    """
    normalised: dict[Normalisation, list[Array]] = {}
    for config in configs:
        if config.normalisation not in normalised:
            scores = read_ranked_scores(candidates_uri, scores_uris, config.normalisation, split)
            normalised[config.normalisation] = list(scores)

    results = []
    for config in configs:
        contexts = normalised[config.normalisation]
        halves = contexts[0::2], contexts[1::2]
        targets: list[Array] = []
        for fitted, measured in (halves, halves[::-1]):
            targets += _targets(fit_ensemble(list(scores_uris), config, fitted, fitted), measured)

        if not targets:
            raise ValueError(f"no teacher scored a context of the split {split}")
        results.append(_measures(targets, targets))
    return results


def _targets(ensemble: Ensemble, contexts: list[Array]) -> list[Array]:
    """Return the target distributions [K'] of those `contexts` [T, K] in which the gold response gets one.

    K' are the candidates that a teacher of this ensemble scored.
    """
    targets: list[Array] = []
    for scores in contexts:
        probs = ensemble.target_probs(scores)
        if probs is not None and not np.isnan(probs[0]):
            targets.append(probs[~np.isnan(probs)])
    return targets


def _without(ensemble: Ensemble, index: int) -> Ensemble:
    return Ensemble(
        ensemble.teachers[:index] + ensemble.teachers[index + 1 :],
        np.delete(ensemble.deviations, index),
        np.delete(ensemble.temperatures, index),
        np.delete(ensemble.weights, index),
        ensemble.config,
    )


def _measures(ranked_by: list[Array], distributions: list[Array]) -> dict[str, float]:
    """Return the measures of C contexts, ranked by `ranked_by` [K]: distributions may underflow to ties."""
    ranks = np.array(list(map(_gold_rank, ranked_by)))
    return {
        "hits@1/20": float((ranks == 1).mean()),
        "mrr": float((1 / ranks).mean()),
        "entropy": float(np.mean(list(map(entropy, distributions)))),
        "cross_entropy": gold_cross_entropy(distributions),
        "contexts": len(ranks),
    }


def _gold_rank(scores: Array) -> int:
    """Return the rank of candidate 0; candidates that tie share the mean of their ranks, rounded up."""
    higher = int((scores > scores[0]).sum())
    tied = int((scores == scores[0]).sum()) - 1
    return 1 + higher + (tied + 1) // 2


def _agreement(teachers: list[str], contexts: list[Array]) -> dict[str, float]:
    """Return the mean over contexts of Kendall's tau-b of every two teachers' scores [T, K]."""
    agreement = {}
    for (first, name), (second, other) in combinations(enumerate(teachers), 2):
        taus = []
        for scores in contexts:
            pair = scores[[first, second]]
            pair = pair[:, ~np.isnan(pair).any(axis=0)]
            if pair.shape[1] > 1:
                taus.append(kendalltau(*pair).statistic)

        # NaN where a teacher's scores of a context are all equal: no order, no agreement.
        if not np.isnan(taus).all():
            agreement[f"{name} × {other}"] = float(np.nanmean(taus))
    return agreement
