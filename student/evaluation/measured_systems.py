"""Measures of systems on held-out sets, from MEASURED: means, intervals, paired tests and responses.

S students of one system, trained with different seeds, C contexts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from student.evaluation.diversity import distinct_n, num_words
from student.evaluation.response_ranking import Measurement
from student.evaluation.statistics import (
    Difference,
    Interval,
    Values,
    interval,
    paired_difference,
    seed_deviation,
)
from teachers.dataset import read_rows

MAIN_METRICS = ("hits@1/20", "mrr")
LOWER_IS_BETTER = frozenset({"own_turn@1", "echo@1"})


class MeasuredSystem:
    """A system's measures on each held-out set, and its responses."""

    def __init__(self, measured_uri: str) -> None:
        self._rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in read_rows(measured_uri):
            self._rows.setdefault(row["set"], {}).setdefault(row["model"], []).append(row)

    def metrics(self, held_out: str) -> dict[str, Values]:
        """Return each metric's values [S, C] on a set."""
        values: dict[str, list[list[float]]] = {}
        for rows in self._rows[held_out].values():
            by_metric: dict[str, list[float]] = {}
            for row in rows:
                for name, value in dict(row["metrics"]).items():
                    by_metric.setdefault(name, []).append(value)
            for name, by_context in by_metric.items():
                values.setdefault(name, []).append(by_context)

        return {name: np.array(by_model) for name, by_model in values.items()}

    def answers(self) -> dict[str, str]:
        """Return the best response by the first seed's student to each example of the split `test`."""
        first = next(iter(self._rows["test"].values()))
        return {row["example_id"]: row["answers"][0] for row in first}


@dataclass(frozen=True)
class Against:
    """A system's differences from another one."""

    system: str
    differences: Mapping[str, Difference]
    """Metric -> this system's mean less the other's."""


@dataclass(frozen=True)
class SystemRow:
    """One system on one held-out set."""

    system: str
    kind: str
    """`baseline`, `dense`, `sparse` or `teacher`."""
    seeds: int
    """Number of trainings."""
    metrics: Mapping[str, Interval]
    seed_deviation: Mapping[str, float] = field(default_factory=dict)
    """Main metric -> standard deviation between seeds; empty for one seed."""
    against: Sequence[Against] = ()


def compare_systems(
    values: Mapping[str, Mapping[str, Values]],
    kinds: Mapping[str, str],
    baselines: Mapping[str, Sequence[str]],
    conversation_ids: Sequence[str],
) -> list[SystemRow]:
    """Return the row of each system; `values` are by system and metric, each [S, C].

    `baselines` names the systems that each one is compared with.
    """
    rows = []
    for system, metrics in values.items():
        intervals, deviations = {}, {}
        for metric, by_context in metrics.items():
            intervals[metric] = interval(by_context, conversation_ids)
            if metric in MAIN_METRICS and len(by_context) > 1:
                deviations[metric] = seed_deviation(by_context)

        against = []
        for other in baselines[system]:
            differences = {}
            for metric, by_context in metrics.items():
                differences[metric] = paired_difference(values[other][metric], by_context, conversation_ids)
            against.append(Against(other, differences))

        num_seeds = max(map(len, metrics.values()))
        rows.append(SystemRow(system, kinds[system], num_seeds, intervals, deviations, against))
    return rows


def summarise(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Return the means of the main metrics over students and contexts."""
    means = {}
    for metric in MAIN_METRICS:
        means[metric] = float(np.mean([measurement.metrics[metric] for measurement in measurements]))
    return means


def mean_intervals(
    rows: Sequence[Mapping[str, float]], conversation_ids: Sequence[str]
) -> dict[str, Interval]:
    """Return the mean of each measure of `rows` [C], with its interval."""
    intervals = {}
    for measure in rows[0]:
        values = [row[measure] for row in rows]
        intervals[measure] = interval(np.array([values]), conversation_ids)
    return intervals


def mean_sparsity(sparsities: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over students; empty where there are none."""
    by_measure: dict[str, list[float]] = {}
    for values in sparsities:
        for measure, value in values.items():
            by_measure.setdefault(measure, []).append(value)
    return {measure: float(np.mean(by_student)) for measure, by_student in by_measure.items()}


def response_measures(
    texts: Sequence[str], sources: Mapping[str, str], conversation_ids: Sequence[str]
) -> dict[str, Any]:
    """Return `distinct_1` and `distinct_2`, and the intervals `words` and `generated_share`.

    `texts` [C] are a system's responses; `sources` has each text's source.
    """
    rows = []
    for text in texts:
        rows.append({"words": float(num_words(text)), "generated_share": float(sources[text] == "generated")})
    intervals = mean_intervals(rows, conversation_ids)
    return {"distinct_1": distinct_n(texts, 1), "distinct_2": distinct_n(texts, 2), **intervals}


def means_by_step(by_seed: Sequence[Mapping[int, float]]) -> list[tuple[float, float]]:
    """Return (step, mean over the seeds that have it); `by_seed` are values by step."""
    means: list[tuple[float, float]] = []
    for step in sorted(set().union(*by_seed)):
        means.append((step, fmean(by_step[step] for by_step in by_seed if step in by_step)))
    return means
