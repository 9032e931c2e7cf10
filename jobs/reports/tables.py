"""The tables of a comparison, by the section of the page that shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.reports import columns
from jobs.reports.columns import (
    SPEAKER,
    SYSTEM,
    TEACHER,
    Column,
    Row,
    Table,
    metric_columns,
    named_rows,
    table,
)
from jobs.reports.comparison import AnswerRow, Comparison, HeldOutTable, LabelCurve, Latency

_SCORER = Column("scorer", "scorer")


def all_tables(comparison: Comparison) -> list[Table]:
    """Every table, those of the held-out sets first."""
    tables: list[Table] = []
    for held_out in comparison.tables:
        tables += [systems_table(held_out), differences_table(held_out)]
    for section in sections(comparison).values():
        tables += section

    return [one for one in tables if one.rows]


def sections(comparison: Comparison) -> dict[str, list[Table]]:
    """The tables of each section but the systems'; some may have no rows."""
    teachers, outcomes = comparison.teachers, outcome_names(comparison)
    filters = named_rows(TEACHER, comparison.filters)
    ratings = [vars(correlations) for correlations in teachers.ratings]
    responses = [vars(row) for row in comparison.answers if row.words is not None]
    claims = [
        {
            **vars(claim),
            "over": claim.against,
            "difference": replace(claim.difference, p_value=claim.corrected_p),
        }
        for claim in comparison.claims
    ]

    return {
        "claims": [table("Claims", columns.CLAIMS, claims)],
        "label curve": _label_curve_tables(comparison.label_curve),
        "latency": _latency_tables(comparison.latency) if comparison.latency else [],
        "teachers": [
            table("Teachers", [TEACHER, *columns.TEACHER_MEASURES], named_rows(TEACHER, teachers.measures))
        ],
        "ratings": [table("Correlations with human ratings", [_SCORER, *columns.RATINGS], ratings)],
        "filters": [table("Filters", [TEACHER, *(Column(name, name, ",d") for name in outcomes)], filters)],
        "answers": [table("Responses", [SYSTEM, *columns.ANSWERS], responses)],
        "conversations": _conversation_tables(comparison),
        "judgements": [_judgement_table(comparison.answers, judge) for judge in judges(comparison)],
        "sparsity": [table("Sparsity", [SYSTEM, *columns.SPARSITY], named_rows(SYSTEM, comparison.sparsity))],
    }


def metric_tables(metrics: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of a distillation's `report/metrics.json`; some may have no rows."""
    systems = named_rows(SYSTEM, metrics["systems"])
    conversations = named_rows(SPEAKER, metrics["conversations"])
    measures = {name: row for name, row in metrics["teachers"].items() if name != "kendall_tau"}
    teachers = [TEACHER, *columns.TEACHER_MEASURES]

    return {
        "systems": table("held-out conversations", [SYSTEM, *columns.RANKING], systems),
        "echoes": table("copies of the context", [SYSTEM, *columns.ECHOES], systems),
        "coverage": table(
            "the student's quality against its coverage", columns.COVERAGE, metrics["coverage"]
        ),
        "conversations": table(
            "conversations with the student", [SPEAKER, *columns.CONVERSATIONS], conversations
        ),
        "teachers": table(
            "teachers on held-out contexts, entropies in nats", teachers, named_rows(TEACHER, measures)
        ),
    }


def systems_table(held_out: HeldOutTable) -> Table:
    """Every system with its metrics, and its difference from others in the metric `compared_by`."""
    compared_by = held_out.compared_by
    rows: list[Row] = []

    for row in held_out.rows:
        differences = []
        for other in row.against:
            difference = columns.AGAINST.text(other.differences[compared_by])
            differences.append(f"{difference} ({other.system})")
        rows.append({**vars(row), **row.metrics, "difference": "; ".join(differences) or None})

    difference_column = Column("difference", f"difference in {compared_by}")
    shown = [SYSTEM, *metric_columns(held_out.metrics), columns.SEEDS, difference_column]
    return Table(f"Systems {held_out.name}", shown, rows)


def differences_table(held_out: HeldOutTable) -> Table:
    """A row for each pair of a system and one that it is compared with."""
    rows: list[Row] = []
    for row in held_out.rows:
        for other in row.against:
            rows.append({"system": row.system, "against": other.system, **other.differences})

    shown = [SYSTEM, columns.AGAINST, *metric_columns(held_out.metrics)]
    return table(f"Differences {held_out.name}", shown, rows)


def judges(comparison: Comparison) -> list[str]:
    """The judges of some system's responses, in order."""
    names: dict[str, None] = {}
    for row in comparison.answers:
        names |= dict.fromkeys(judgement.judge for judgement in row.judgements)
    return list(names)


def outcome_names(comparison: Comparison) -> list[str]:
    """`kept`, and each reason for which a filter dropped some teacher's response."""
    names = {"kept": None}
    for counts in comparison.filters.values():
        names |= dict.fromkeys(reason for reason, count in counts.items() if count)
    return list(names)


def _label_curve_tables(curve: LabelCurve | None) -> list[Table]:
    if curve is None:
        return []
    title = f"With few human responses: {curve.metric}"
    return [table(title, columns.LABEL_CURVE, [vars(point) for point in curve.points])]


def _conversation_tables(comparison: Comparison) -> list[Table]:
    tables = []
    for name, measures in comparison.conversations.items():
        rows = named_rows(SYSTEM, measures)
        tables.append(table(f"Conversations with {name}", [SYSTEM, *columns.CONVERSATIONS], rows))
    return tables


def _latency_tables(latency: Latency) -> list[Table]:
    tables = []
    for name, first, timed in (
        ("systems", SYSTEM, latency.students),
        ("teachers", TEACHER, latency.teachers),
    ):
        rows = named_rows(first, {system: vars(times) for system, times in timed.items()})
        tables.append(table(f"Latency of {name}", [first, *columns.RESPONSE_TIMES], rows))
    return tables


def _judgement_table(answers: Sequence[AnswerRow], judge: str) -> Table:
    rows: list[Row] = []
    for row in answers:
        for judgement in row.judgements:
            if judgement.judge == judge:
                trained = "yes" if judgement.trained_on else "no"
                rows.append({**vars(judgement), "system": row.system, "trained": trained})
    return table(f"Judged by {judge}", [SYSTEM, *columns.JUDGEMENTS], rows)
