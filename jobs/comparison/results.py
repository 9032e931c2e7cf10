"""The measures of a comparison of systems, gathered from its runs."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.comparison.config import BM25, UNTRAINED, UNTRAINED_SPARSE, ComparisonConfig
from jobs.comparison.judging import Answers, held_out_rows
from jobs.comparison.systems import OUT_OF_DOMAIN, ComparisonJob, seed_job
from jobs.comparison.win_rates import WinRates, trained_by
from jobs.distillation.stages import DistillationJob, scorers, scores_uris
from jobs.execution.run_directory import provenance
from jobs.execution.tracking import TrainingReports
from jobs.reports.comparison import (
    Against,
    AnswerRow,
    ChosenResponse,
    Comparison,
    HeldOutTable,
    Latency,
    RatingCorrelations,
    ReadingExample,
    ResponseTimes,
    SystemRow,
    Teachers,
    learning_curve,
)
from student.evaluation.diversity import distinct_n, num_words
from student.evaluation.response_ranking import HeldOut
from student.evaluation.statistics import Interval, interval, paired_difference, seed_deviation
from teachers.dataset import read_rows
from teachers.generation.latency import TOKENS
from teachers.scoring.calibration import calibrate
from teachers.scoring.ratings import Rated, rating_correlations

logger = logging.getLogger(__name__)

Values = NDArray[np.float64]

_TITLES = {
    "test": ("by conversation", "Contexts of conversations that no training example comes from."),
    "test_by_sender": (
        "by sender",
        "Stricter: conversations of people who wrote nothing that was trained or tuned on.",
    ),
    OUT_OF_DOMAIN: (
        "out of domain",
        "Other people about other topics, untouched by any tuning: the gold response among the 20 "
        "candidates of its context, and its reciprocal rank among those.",
    ),
}
_SEED_METRICS = ("hits@1/20", "mrr")
# Field of RatingCorrelations -> key of `rank_correlations`.
_RATING_KEYS = {
    "spearman": "spearman",
    "kendall": "kendall_tau",
    "spearman_within": "spearman within contexts",
    "kendall_within": "kendall_tau within contexts",
}


class Results:
    """A system's measures on each held-out set, and its responses."""

    def __init__(self, job: DistillationJob) -> None:
        self._rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in read_rows(job.run.at("measured")):
            self._rows.setdefault(row["set"], {}).setdefault(row["model"], []).append(row)

    @property
    def num_models(self) -> int:
        return len(self._rows["test"])

    def metrics(self, held_out: str) -> dict[str, Values]:
        """Return each metric's values [S, C] on a set, of S students and C contexts."""
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
class _Measured:
    """Jobs and measures that a comparison's report is made from."""

    base: ComparisonJob
    config: ComparisonConfig
    systems: Mapping[str, DistillationJob]
    results: Mapping[str, Results]


def comparison(
    base: ComparisonJob,
    systems: dict[str, DistillationJob],
    results: dict[str, Results],
    sets: dict[str, HeldOut],
    ratings: list[Rated],
) -> Comparison:
    """Return all figures, with their intervals and tests."""
    logger.info("intervals and tests:")
    config = base.config
    measured = _Measured(base, config, systems, results)
    answers = {name: results[name].answers() for name in systems}
    sources = {row["text"]: row["source"] for row in read_rows(base.run.at("response_set"))}

    return Comparison(
        title=f"Comparison of systems: {base.run.uri.rsplit('/', 1)[-1]}",
        **provenance(),
        seeds=config.compare.seeds,
        notes=_notes(base, config),
        tables=[_table(measured, name, held_out) for name, held_out in sets.items()],
        answers=_answers(measured, answers, sources),
        sparsity=_sparsity(systems),
        learning_curves={name: _curves(systems[name], config, name) for name in config.compare.systems},
        teachers=_teachers(base, ratings),
        filters=base.run.read_json("stages", "generate.json")["counts"],
        latency=_latency(base, config),
        reading=_reading(measured, answers, sources),
    )


def _notes(base: ComparisonJob, config: ComparisonConfig) -> list[str]:
    examples = base.run.read_json("stages", "examples.json")["counts"]
    num_scored = base.run.read_json("stages", "contexts.json")["counts"]["contexts"]
    trainings = "one training" if len(config.compare.seeds) == 1 else f"{len(config.compare.seeds)} trainings"
    return [
        f"{examples['train examples']} training contexts, of which the teachers saw {num_scored}; "
        f"{trainings} of every system but the baselines. Intervals are 95 %, by a bootstrap over "
        "conversations; p-values by a paired randomisation test over conversations, not corrected for their "
        "number. Each student is the checkpoint with the best validation MRR."
    ]


def _table(measured: _Measured, name: str, held_out: HeldOut) -> HeldOutTable:
    title, explanation = _TITLES[name]
    groups = held_out.conversation_ids
    values = {system: results.metrics(name) for system, results in measured.results.items()}

    rows = []
    for system, metrics in values.items():
        intervals = {metric: interval(by_context, groups) for metric, by_context in metrics.items()}
        seeds = measured.results[system].num_models
        deviations = {}
        if seeds > 1:
            deviations = {metric: seed_deviation(metrics[metric]) for metric in _SEED_METRICS}

        against = []
        for other in _against(system, measured):
            differences = {}
            for metric, by_context in metrics.items():
                differences[metric] = paired_difference(values[other][metric], by_context, groups)
            against.append(Against(other, differences))
        rows.append(SystemRow(system, _kind(system, measured), seeds, intervals, deviations, against))

    return HeldOutTable(
        name=title,
        explanation=explanation,
        contexts=len(held_out.contexts),
        conversations=len(set(groups)),
        responses=len(held_out.responses),
        rows=rows,
    )


def _against(system: str, measured: _Measured) -> list[str]:
    """Return the systems that one is tested against: without others in its config, the row above it."""
    trained = measured.config.compare.systems
    if system not in trained:
        return [BM25] if system != BM25 else []

    rows = list(measured.systems)
    return trained[system].against or [rows[rows.index(system) - 1]]


def _kind(system: str, measured: _Measured) -> str:
    if system in (BM25, UNTRAINED, UNTRAINED_SPARSE):
        return "baseline"
    return measured.systems[system].config.student.kind


def _answers(measured: _Measured, answers: Answers, sources: Mapping[str, str]) -> list[AnswerRow]:
    compare = measured.config.compare
    held_out = held_out_rows(measured.base, measured.config.evaluate.contexts)
    conversations = {row["example_id"]: row["conversation_id"] for row in held_out}
    win_rates = WinRates(measured.base, compare.judged_contexts)

    rows = []
    for system, job in measured.systems.items():
        texts, groups, lengths, is_generated = [], [], [], []
        for example_id, text in answers[system].items():
            texts.append(text)
            groups.append(conversations[example_id])
            lengths.append(float(num_words(text)))
            is_generated.append(float(sources[text] == "generated"))

        teachers = trained_by(job) if system in compare.systems else set()
        rows.append(
            AnswerRow(
                system=system,
                distinct_1=distinct_n(texts, 1),
                distinct_2=distinct_n(texts, 2),
                words=interval(np.array([lengths]), groups),
                generated_share=interval(np.array([is_generated]), groups),
                judgements=win_rates.of_system(answers[system], teachers),
            )
        )
    return rows


def _sparsity(systems: Mapping[str, DistillationJob]) -> dict[str, dict[str, float]]:
    """Return the sparsity of each sparse system, as the mean over its students."""
    sparsity: dict[str, dict[str, float]] = {}
    for name, job in systems.items():
        by_model = job.run.read_json("stages", "measure.json")["counts"]["sparsity"]
        by_metric: dict[str, list[float]] = {}
        for values in by_model.values():
            for metric, value in values.items():
                by_metric.setdefault(metric, []).append(value)
        if by_metric:
            sparsity[name] = {metric: float(np.mean(by_student)) for metric, by_student in by_metric.items()}
    return sparsity


def _curves(
    system: DistillationJob, config: ComparisonConfig, name: str
) -> dict[str, list[dict[str, float]]]:
    curves = {}
    for seed in config.compare.seeds:
        job = seed_job(config, system, name, seed)
        reports = TrainingReports(job.run, ("train", job.keys["train"], "history.jsonl"), job.tracker)
        curves[str(seed)] = learning_curve(reports.lines())
    return curves


def _teachers(base: ComparisonJob, ratings: list[Rated]) -> Teachers:
    measures = calibrate(base.run.at("candidates"), scores_uris(base), base.config.targets, "test")
    agreement = measures.pop("kendall_tau")
    return Teachers(measures, agreement, _correlations(base, ratings))


def _correlations(base: ComparisonJob, ratings: list[Rated]) -> list[RatingCorrelations]:
    if not ratings:
        return []

    candidates_uri = base.run.at("judged", "candidates")
    uris = {name: base.run.at("judged", "scores", name) for name in scorers(base)}
    correlations = rating_correlations(ratings, candidates_uri, uris, base.config.targets)

    rows = []
    for scorer, values in correlations.items():
        intervals = {}
        for field, key in _RATING_KEYS.items():
            if key in values:
                intervals[field] = Interval(**values[key])
        rows.append(RatingCorrelations(scorer, **intervals))
    return rows


def _latency(base: ComparisonJob, config: ComparisonConfig) -> Latency | None:
    if not config.compare.timed_requests:
        return None

    counts = base.run.read_json("stages", "latency.json")["counts"]
    teachers = {name: ResponseTimes(**times) for name, times in counts["teachers"].items() if times}
    return Latency(
        students={config.compare.served: ResponseTimes(**counts["student"])},
        teachers=teachers,
        note=f"A teacher writes {TOKENS} tokens, alone in its actor and one conversation at a time; "
        "the student answers one request at a time over HTTP, through Ray Serve. One machine, one run.",
    )


def _reading(measured: _Measured, answers: Answers, sources: Mapping[str, str]) -> list[ReadingExample]:
    examples = []
    for row in held_out_rows(measured.base, measured.config.compare.reading_contexts):
        responses = []
        for system, by_example in answers.items():
            text = by_example[row["example_id"]]
            responses.append(ChosenResponse(system, text, sources[text]))
        examples.append(ReadingExample(row["context"], row["gold_response"], responses))
    return examples
