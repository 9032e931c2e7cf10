"""The report page of a distillation."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory, provenance
from jobs.reports import comparison as report
from jobs.reports.columns import SECONDS, STAGE, named_rows, table
from jobs.reports.comparison_charts import coverage_figure
from jobs.reports.comparison_page import comparison_page
from jobs.reports.tables import metric_tables
from jobs.stages.training import training_reports

logger = logging.getLogger(__name__)


def write_page(job: Job[Any], metrics: Mapping[str, Any]) -> None:
    """Write `report/index.html` of what the stage `evaluate` returned and wrote."""
    counts = job.run.read_json("stages", "candidates.json")["counts"]
    note = (
        f"{counts['training contexts']:,} training contexts, of which the teachers saw "
        f"{counts['contexts for teachers']:,}. The student is the checkpoint with the best validation MRR."
    )
    teachers = dict(metrics["teachers"])
    agreement = teachers.pop("kendall_tau")

    distillation = report.Comparison(
        title=f"Distillation: {job.run.uri.rsplit('/', 1)[-1]}",
        **provenance(),
        seeds=[job.config.student.seed],
        notes=[note],
        tables=[],
        learning_curves={"student": {"": report.learning_curve(training_reports(job).lines())}},
        teachers=report.Teachers(teachers, agreement),
        filters=report.filter_outcomes(metrics["responses"], metrics["response_set"]),
        reading=_reading(job.run.read_json("report", "answers.json")),
    )
    page = distillation_page(distillation, metrics, read_conversations(job.run), job.seconds())
    job.run.write_text(page, "report", "index.html")
    logger.info("report: %s", job.run.at("report", "index.html"))


def distillation_page(
    distillation: report.Comparison,
    metrics: Mapping[str, Any],
    conversations: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
) -> str:
    """The page, with the first conversation of each set in full.

    `conversations` are rows of `report/conversations.jsonl`, and `seconds` are by stage.
    """
    dialogues: dict[str, Any] = {}
    for conversation in conversations:
        dialogues.setdefault(conversation["set"], conversation["turns"])
    timings = {**seconds, "together": sum(seconds.values())}
    rows = named_rows(STAGE, {name: {SECONDS.key: value} for name, value in timings.items()})

    return comparison_page(
        distillation,
        "distillation.html.j2",
        numbers={name: number for number, name in enumerate(metrics["systems"], 1)},
        shown=metric_tables(metrics),
        coverage=coverage_figure(metrics["coverage"]),
        dialogues=dialogues,
        seconds=table("Seconds by stage", [STAGE, SECONDS], rows),
    )


def read_conversations(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the conversations with the run's responder, `set` and `turns` each."""
    lines = run.read_text("report", "conversations.jsonl") or ""
    # str.splitlines would split at a line separator within a text, too.
    return [json.loads(line) for line in lines.split("\n") if line]


def _reading(rows: Sequence[Mapping[str, Any]]) -> list[report.ReadingExample]:
    examples = []
    for row in rows:
        answers = []
        for system, response in row["answers"].items():
            answers.append(report.ChosenResponse(system, response["text"], response["source"]))
        examples.append(report.ReadingExample(row["context"], row["gold_response"], answers))
    return examples
