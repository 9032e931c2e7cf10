"""TREC's measures of several systems on the same questions, with intervals and paired tests."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from student.evaluation.measured_systems import Against, SystemRow
from student.evaluation.metrics import search_metrics
from student.evaluation.search.document_search import Questions, SearchResult
from student.evaluation.statistics import Difference, Interval, interval, paired_difference

_TESTED_METRIC = "mrr"


@dataclass(frozen=True)
class SearchMeasures:
    """One system's measures. Intervals are 95 %, over conversations."""

    metrics: dict[str, Interval]
    """Metric -> its mean over questions, see `search_metrics`"""
    sparsity: dict[str, float]
    """See `sparsity_metrics`; empty where vectors are dense, or none"""
    against: dict[str, Difference]
    """Another system -> this system's MRR minus that one's"""


def search_measures(
    questions: Questions,
    results: Mapping[str, SearchResult],
    baselines: Mapping[str, Sequence[str]],
) -> dict[str, SearchMeasures]:
    """Return each system's measures; `baselines` names the systems that each one is tested against.

    Raises:
        ValueError: a system's scores are NaN; names the system.
    """
    conversations = [questions.conversation_ids[question_id] for question_id in questions.qrels]
    values = {}
    for name, result in results.items():
        try:
            values[name] = search_metrics(questions.qrels, result.run)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    measures = {}
    for name, result in results.items():
        tested = values[name][_TESTED_METRIC][None]
        against = {}
        for baseline in baselines[name]:
            against[baseline] = paired_difference(
                values[baseline][_TESTED_METRIC][None], tested, conversations
            )

        metrics = {}
        for metric, by_question in values[name].items():
            metrics[metric] = interval(by_question[None], conversations)
        measures[name] = SearchMeasures(metrics, result.sparsity, against)

    return measures


def search_counts(
    questions: Questions,
    results: Mapping[str, SearchResult],
    baselines: Mapping[str, Sequence[str]],
    num_documents: int,
) -> dict[str, Any]:
    """Return the numbers of `questions`, `conversations` and `documents`, and `systems`, their measures."""
    measures = search_measures(questions, results, baselines)
    return {
        "questions": len(questions.qrels),
        "conversations": len({questions.conversation_ids[question_id] for question_id in questions.qrels}),
        "documents": num_documents,
        "systems": {name: asdict(system_measures) for name, system_measures in measures.items()},
    }


def system_rows(
    systems: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, str], compared_by: str
) -> list[SystemRow]:
    """Return a row for each of `systems`, as in `search_counts`; `compared_by` is the tested metric."""
    rows = []
    for system, measures in systems.items():
        metrics = {metric: Interval(**values) for metric, values in measures["metrics"].items()}
        against = []
        for other, values in measures["against"].items():
            against.append(Against(other, {compared_by: Difference(**values)}))
        rows.append(SystemRow(system, kinds[system], 1, metrics, against=against))
    return rows
