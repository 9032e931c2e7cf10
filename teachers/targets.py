"""Target distributions out of raw scores, and how well teachers find the gold reply."""

from collections import Counter
from typing import Any

import numpy as np

from teachers.config import TargetsConfig
from teachers.ensemble import Array, mean_of_distributions, normalise, softmax, z_score
from teachers.records import TARGETS, read_rows, write_rows

Scores = dict[str, dict[str, dict[str, Any]]]
"""teacher -> example_id -> row of SCORES"""


def write_targets(
    candidates_uri: str, scores_uris: dict[str, str], output_uri: str, config: TargetsConfig
) -> Counter[str]:
    """Writes TARGETS for every row of CANDIDATES; `scores_uris` maps a teacher to its SCORES."""
    scores = _read_scores(scores_uris)
    counts: Counter[str] = Counter()
    rows = []
    for row in read_rows(candidates_uri):
        found = _distributions(row["example_id"], scores, config)
        counts["with targets" if found else "without targets"] += 1
        target_probs = _ensemble(found, config) if found else None
        rows.append({**row, "target_probs": target_probs})
    write_rows(output_uri, rows, TARGETS)
    return counts


def teacher_scores(row: dict[str, Any], config: TargetsConfig) -> Array | None:
    """One teacher's comparable scores [K] from a row of SCORES; None where it scored nothing."""
    raw = {
        key: np.array(row[key], dtype=np.float64) for key in ("log_likelihood", "prior", "tokens", "bytes")
    }
    scores = normalise(config.normalisation, raw["log_likelihood"], raw["prior"], raw["tokens"], raw["bytes"])
    if np.isnan(scores).all():
        return None
    return z_score(scores) if config.z_score else scores


def gold_ranks(
    candidates_uri: str, scores_uris: dict[str, str], config: TargetsConfig, split: str
) -> dict[str, list[float]]:
    """Rank of the gold reply among its 20 candidates, a list per teacher and one for `ensemble`.

    Ties share the mean of their ranks.
    """
    scores = _read_scores(scores_uris)
    ranks: dict[str, list[float]] = {name: [] for name in (*scores_uris, "ensemble")}
    for row in read_rows(candidates_uri):
        if row["split"] != split:
            continue
        found = _distributions(row["example_id"], scores, config)
        for name, distribution in found.items():
            ranks[name].append(_rank_of_first(distribution))
        if found:
            ranks["ensemble"].append(_rank_of_first(_ensemble(found, config)))
    return ranks


def _read_scores(scores_uris: dict[str, str]) -> Scores:
    return {
        teacher: {row["example_id"]: row for row in read_rows(uri)} for teacher, uri in scores_uris.items()
    }


def _distributions(example_id: str, scores: Scores, config: TargetsConfig) -> dict[str, Array]:
    """Target distribution [K] of every teacher that scored this example."""
    found = {}
    for teacher, rows in scores.items():
        if example_id in rows and (values := teacher_scores(rows[example_id], config)) is not None:
            found[teacher] = softmax(values, config.temperature)
    return found


def _ensemble(distributions: dict[str, Array], config: TargetsConfig) -> Array:
    weights = np.array([config.weights.get(teacher, 1.0) for teacher in distributions])
    return mean_of_distributions(np.stack(list(distributions.values())), weights)


def _rank_of_first(distribution: Array) -> float:
    higher = int((distribution > distribution[0]).sum())
    equal = int((distribution == distribution[0]).sum()) - 1
    return 1 + higher + equal / 2
