"""The measures of a comparison of systems, gathered from its runs."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.comparison.config import BM25, OUT_OF_DOMAIN, UNTRAINED, UNTRAINED_SPARSE, ComparisonConfig
from jobs.comparison.judging import Answers, held_out_rows
from jobs.comparison.label_curve import label_curve
from jobs.comparison.systems import ComparisonJob, seed_job
from jobs.comparison.win_rates import WinRates, trained_by
from jobs.distillation.stages import DistillationJob, scorers, scores_uris
from jobs.execution.run_directory import provenance
from jobs.reports import comparison as report
from jobs.stages.training import training_reports
from student.evaluation.held_out import HeldOut
from student.evaluation.measured_systems import (
    MeasuredSystem,
    compare_systems,
    mean_sparsity,
    response_measures,
)
from student.evaluation.statistics import Interval, holm, paired_difference
from teachers.dataset import read_rows
from teachers.generation.latency import TOKENS
from teachers.scoring.calibration import calibrate
from teachers.scoring.ratings import Rated, rating_correlations

logger = logging.getLogger(__name__)

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
# Field of RatingCorrelations -> key of `rank_correlations`.
_RATING_KEYS = {
    "spearman": "spearman",
    "kendall": "kendall_tau",
    "spearman_within": "spearman within contexts",
    "kendall_within": "kendall_tau within contexts",
}


@dataclass(frozen=True)
class MeasuredRun:
    """Jobs of a comparison, whose systems are measured, and the systems' responses."""

    base: ComparisonJob
    systems: Mapping[str, DistillationJob]
    measures: Mapping[str, MeasuredSystem]
    answers: Answers

    @classmethod
    def of_systems(cls, base: ComparisonJob, systems: Mapping[str, DistillationJob]) -> "MeasuredRun":
        """Read what the systems' jobs measured."""
        measures = {name: MeasuredSystem(job.run.at("measured")) for name, job in systems.items()}
        answers = {name: measured.answers() for name, measured in measures.items()}
        return cls(base, systems, measures, answers)


def comparison(measured: MeasuredRun, sets: Mapping[str, HeldOut], ratings: list[Rated]) -> report.Comparison:
    """Return all figures, with their intervals and tests."""
    logger.info("intervals and tests:")
    base, systems = measured.base, measured.systems
    config = base.config
    sources = {row["text"]: row["source"] for row in read_rows(base.run.at("response_set"))}

    return report.Comparison(
        title=f"Comparison of systems: {base.run.uri.rsplit('/', 1)[-1]}",
        **provenance(),
        seeds=config.compare.seeds,
        notes=_notes(base),
        tables=[_table(measured, name, held_out) for name, held_out in sets.items()],
        claims=_claims(measured, sets),
        label_curve=_label_curve(measured, sets),
        answers=_answers(measured, sources),
        conversations=_conversations(systems),
        sparsity=_sparsity(systems),
        learning_curves={
            name: _curves(systems[name], config, name)
            for name in config.compare.systems
            if config.trained_as(name) == name
        },
        teachers=_teachers(base, ratings),
        filters=report.filter_outcomes(
            *(
                base.run.read_json("stages", f"{stage}.json")["counts"]
                for stage in ("generate", "response_set")
            )
        ),
        latency=_latency(base),
        reading=_reading(measured, sources),
    )


def _notes(base: ComparisonJob) -> list[str]:
    examples = base.run.read_json("stages", "examples.json")["counts"]
    num_scored = base.run.read_json("stages", "contexts.json")["counts"]["contexts"]
    num_seeds = len(base.config.compare.seeds)
    trainings = "one training" if num_seeds == 1 else f"{num_seeds} trainings"
    return [
        f"{examples['train examples']} training contexts, of which the teachers saw {num_scored}; "
        f"{trainings} of every system but the baselines. {report.STATISTICS} Each student is the "
        "checkpoint with the best validation MRR."
    ]


def _table(measured: MeasuredRun, name: str, held_out: HeldOut) -> report.HeldOutTable:
    title, explanation = _TITLES[name]
    values, kinds, baselines = {}, {}, {}
    for system, measures in measured.measures.items():
        values[system] = measures.metrics(name)
        kinds[system] = _kind(system, measured)
        baselines[system] = _against(system, measured)

    return report.HeldOutTable(
        name=title,
        explanation=explanation,
        contexts=len(held_out.contexts),
        conversations=len(set(held_out.conversation_ids)),
        responses=held_out.num_ranked,
        rows=compare_systems(values, kinds, baselines, held_out.conversation_ids),
    )


def _claims(measured: MeasuredRun, sets: Mapping[str, HeldOut]) -> list[report.Claim]:
    """Return the claims on the sets that there are, with p-values corrected for their number."""
    claims = {
        name: claim
        for name, claim in measured.base.config.compare.claims.items()
        if claim.held_out in sets  # a file from elsewhere may be absent, which was told
    }

    differences = []
    for claim in claims.values():
        first, second = (
            measured.measures[system].metrics(claim.held_out)[claim.metric]
            for system in (claim.against, claim.system)
        )
        differences.append(paired_difference(first, second, sets[claim.held_out].conversation_ids))

    corrected = holm([difference.p_value for difference in differences])
    return [
        report.Claim(name, **claim.model_dump(), difference=difference, corrected_p=p_value)
        for (name, claim), difference, p_value in zip(claims.items(), differences, corrected, strict=True)
    ]


def _label_curve(measured: MeasuredRun, sets: Mapping[str, HeldOut]) -> report.LabelCurve | None:
    """Return the curve on the first of the sets."""
    config = measured.base.config.compare.label_curve
    if config is None:
        return None
    name, held_out = next(iter(sets.items()))
    values = {system: by_set.metrics(name)[config.metric] for system, by_set in measured.measures.items()}
    return label_curve(config, measured.systems, values, held_out.conversation_ids)


def _against(system: str, measured: MeasuredRun) -> list[str]:
    """Return the systems that one is tested against: without others in its config, the row above it."""
    trained = measured.base.config.compare.systems
    if system not in trained:
        return [BM25] if system != BM25 else []

    rows = list(measured.systems)
    return trained[system].against or [rows[rows.index(system) - 1]]


def _kind(system: str, measured: MeasuredRun) -> str:
    if system in (BM25, UNTRAINED, UNTRAINED_SPARSE):
        return "baseline"
    return measured.systems[system].config.student.kind


def _answers(measured: MeasuredRun, sources: Mapping[str, str]) -> list[report.AnswerRow]:
    config = measured.base.config
    held_out = held_out_rows(measured.base, config.evaluate.contexts)
    conversations = {row["example_id"]: row["conversation_id"] for row in held_out}
    untrained = UNTRAINED if UNTRAINED in measured.answers else UNTRAINED_SPARSE
    win_rates = WinRates(measured.base, config.compare.judged_contexts, measured.answers[untrained])

    rows = []
    for name, responses in win_rates.references().items():
        rows.append(report.AnswerRow(name, judgements=win_rates.of_system(responses, {name})))
    for system, job in measured.systems.items():
        answers = measured.answers[system]
        groups = [conversations[example_id] for example_id in answers]
        teachers = trained_by(job) if system in config.compare.systems else set()
        others = [(name, measured.answers[name]) for name in _against(system, measured)]
        judgements = win_rates.of_system(answers, teachers, others[0] if others else None)
        measures = response_measures(list(answers.values()), sources, groups)
        rows.append(report.AnswerRow(system=system, **measures, judgements=judgements))
    return rows


def _sparsity(systems: Mapping[str, DistillationJob]) -> dict[str, dict[str, float]]:
    """Return the sparsity of each sparse system, as the mean over its students."""
    sparsity = {}
    for name, job in systems.items():
        by_model = job.run.read_json("stages", "measure.json")["counts"]["sparsity"]
        if by_model:
            sparsity[name] = mean_sparsity(list(by_model.values()))
    return sparsity


def _conversations(systems: Mapping[str, DistillationJob]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the measures of conversations by their set and system."""
    by_set: dict[str, dict[str, dict[str, float]]] = {}
    for name, job in systems.items():
        measured = job.run.read_json("stages", "measure.json")["counts"]["conversations"]
        for set_name, measures in measured.items():
            by_set.setdefault(set_name, {})[name] = measures
    return by_set


def _curves(
    system: DistillationJob, config: ComparisonConfig, name: str
) -> dict[str, list[dict[str, float]]]:
    curves = {}
    for seed in config.compare.seeds:
        reports = training_reports(seed_job(config, system, name, seed))
        curves[str(seed)] = report.learning_curve(reports.lines())
    return curves


def _teachers(base: ComparisonJob, ratings: list[Rated]) -> report.Teachers:
    measures = calibrate(base.run.at("candidates"), scores_uris(base), base.config.targets, "test")
    agreement = measures.pop("kendall_tau")
    return report.Teachers(measures, agreement, _correlations(base, ratings))


def _correlations(base: ComparisonJob, ratings: list[Rated]) -> list[report.RatingCorrelations]:
    if not ratings:
        return []

    candidates_uri = base.run.at("judged", "candidates")
    correlations: dict[str, Any] = {}
    # The ensemble that is shown is the teachers'.
    for names in (base.config.compare.judges, scorers(base)):
        uris = {name: base.run.at("judged", "scores", name) for name in names}
        if uris:
            correlations |= rating_correlations(ratings, candidates_uri, uris, base.config.targets)

    rows = []
    for scorer, values in correlations.items():
        intervals = {}
        for field, key in _RATING_KEYS.items():
            if key in values:
                intervals[field] = Interval(**values[key])
        rows.append(report.RatingCorrelations(scorer, **intervals))
    return rows


def _latency(base: ComparisonJob) -> report.Latency | None:
    compare = base.config.compare
    if not compare.timed_requests:
        return None

    note = (
        f"A teacher writes {TOKENS} tokens, alone in its actor and one conversation at a time; the student "
        "answers one request at a time over HTTP, through Ray Serve. One machine, one run."
    )
    return report.latency_of(base.run.read_json("stages", "latency.json")["counts"], compare.served, note)


def _reading(measured: MeasuredRun, sources: Mapping[str, str]) -> list[report.ReadingExample]:
    examples = []
    for row in held_out_rows(measured.base, measured.base.config.compare.reading_contexts):
        responses = []
        for system, answers in measured.answers.items():
            text = answers[row["example_id"]]
            responses.append(report.ChosenResponse(system, text, sources[text]))
        examples.append(report.ReadingExample(row["context"], row["gold_response"], responses))
    return examples
