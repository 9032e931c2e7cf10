"""Calibration of teachers and their ensemble: the rank of the gold response, entropy, agreement.

T teachers, in the order of `scores_uris`; K candidates of one context, gold first.
"""

from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from teachers.scoring.config import Normalisation, TargetsConfig
from teachers.scoring.ensemble import Array, entropy, gold_cross_entropy, softmax
from teachers.scoring.targets import Ensemble, comparable, fit_ensemble, read_scores, scores_of, scores_to_fit


def calibrate(
    candidates_uri: str, scores_uris: dict[str, str], config: TargetsConfig, split: str
) -> dict[str, Any]:
    """Return measures of each teacher, of `ensemble` and of each `ensemble without NAME`, on `split`.

    Each has `hits@1/20` and `mrr` of the gold response (a tie counts against it), `entropy` (mean, nats)
    and `cross_entropy` (mean −log p(gold), nats) of its softened distributions, and `contexts`
    (count); a teacher also has `spread`, the mean over contexts of the standard deviation of its scores
    before z-scoring. `kendall_tau` has the mean over contexts of Kendall's tau-b of each pair of
    teachers, as `NAME × NAME`. What has no context to be measured on is left out.

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
    raw = _raw_scores(candidates_uri, scores_uris, config.normalisation, split)
    contexts = [comparable(scores, config) for scores in raw]

    report: dict[str, Any] = {}
    for index, teacher in enumerate(teachers):
        if scored := scores_of(index, contexts, config):
            softened = [softmax(row, ensemble.temperatures[index]) for row in scored]
            report[teacher] = {**_measures(scored, softened), "spread": _spread(raw, index)}

    if targets := _targets(ensemble, contexts):
        report["ensemble"] = _measures(targets, targets)
    for index, teacher in enumerate(teachers):
        others = [np.delete(row, index, axis=0) for row in contexts]
        if targets := _targets(_without(ensemble, index), others):
            report[f"ensemble without {teacher}"] = _measures(targets, targets)

    report["kendall_tau"] = _agreement(teachers, raw)
    return report


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
            normalised[config.normalisation] = _raw_scores(
                candidates_uri, scores_uris, config.normalisation, split
            )

    results = []
    for config in configs:
        contexts = [comparable(scores, config) for scores in normalised[config.normalisation]]
        halves = contexts[0::2], contexts[1::2]
        targets: list[Array] = []
        for fitted, measured in (halves, halves[::-1]):
            targets += _targets(fit_ensemble(list(scores_uris), config, fitted, fitted), measured)

        if not targets:
            raise ValueError(f"no teacher scored a context of the split {split}")
        results.append(_measures(targets, targets))
    return results


def _raw_scores(
    candidates_uri: str, scores_uris: dict[str, str], normalisation: Normalisation, split: str
) -> list[Array]:
    """Return the scores [T, K] of the scored contexts of `split`, before z-scoring."""
    return [scores for _, scores in read_scores(candidates_uri, scores_uris, normalisation, split)]


def _spread(contexts: list[Array], index: int) -> float:
    """Return the mean standard deviation of a teacher's scores over the contexts [T, K] that it scored."""
    deviations = []
    for scores in contexts:
        teacher_scores = scores[index]
        if not np.isnan(teacher_scores).all():
            deviations.append(np.nanstd(teacher_scores))
    return float(np.mean(deviations))


def _targets(ensemble: Ensemble, contexts: list[Array]) -> list[Array]:
    """Return the target distributions [K] of those `contexts` [T, K] that get one."""
    targets: list[Array] = []
    for scores in contexts:
        probs = ensemble.target_probs(scores)
        if probs is not None:
            targets.append(probs)
    return targets


def _without(ensemble: Ensemble, index: int) -> Ensemble:
    return Ensemble(
        ensemble.teachers[:index] + ensemble.teachers[index + 1 :],
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
