"""What a job shows at its end: `report/metrics.json` and tables."""

import logging
from collections.abc import Iterable
from typing import Any

from rich import table as rich_table
from rich.console import Console

from jobs.execution.run_directory import RunDirectory
from jobs.reports import columns
from jobs.reports.columns import Table, table
from jobs.reports.comparison import Comparison, HeldOutTable
from jobs.reports.tables import metric_tables, sections, systems_table

logger = logging.getLogger(__name__)

# Of these, those that were measured.
_SHOWN_METRICS = ("hits@1/20", "ndcg@3", "mrr", "token F1", "exact match")
_WIDTH = 144  # of a log: the widest table fits


def report_metrics(run: RunDirectory, metrics: dict[str, Any]) -> None:
    """Write and print the measures of every system and teacher."""
    run.write_json(metrics, "report", "metrics.json")
    for shown in metric_tables(metrics).values():
        if shown.rows:
            print_table(shown)

    if agreement := metrics["teachers"]["kendall_tau"]:
        taus = ", ".join(f"{pair} {tau:.2f}" for pair, tau in agreement.items())
        logger.info("agreement of teachers (Kendall's tau): %s", taus)
    for teacher, counts in metrics["responses"].items():
        logger.info("%s wrote: %s", teacher, _outcomes(counts))
    for origin, counts in metrics["response_set"].items():
        logger.info("response set, %s: %s", origin, _outcomes(counts))
    for teacher, noise in metrics["scoring"].items():
        if "noise_nats_per_token" in noise:
            num_pairs, nats = noise["pairs scored twice"], noise["noise_nats_per_token"]
            logger.info("%s scored %s pairs twice, at most %.2g nats/token apart", teacher, num_pairs, nats)


def _outcomes(counts: dict[str, int]) -> str:
    return ", ".join(f"{outcome} {count}" for outcome, count in counts.items())


def report_training(run: RunDirectory, reports: list[dict[str, Any]]) -> None:
    """Write the learning curve to `report/learning_curve.json` and print its validations.

    A system of a comparison is one of many: its curve is in the comparison's report.
    """
    run.write_json(reports, "report", "learning_curve.json")
    validations = [report for report in reports if "validation_mrr" in report]
    if validations and not run.is_part:
        print_table(table("validation while training", columns.VALIDATION, validations))


def print_systems(tables: Iterable[HeldOutTable]) -> None:
    """Print every system of a comparison, on each of its held-out sets."""
    for held_out in tables:
        systems = systems_table(held_out).select(*_SHOWN_METRICS, "difference")
        print_table(systems, f"{held_out.name}, {held_out.contexts} contexts, with 95 % intervals")


def print_claims(comparison: Comparison) -> None:
    """Print the claims of a comparison, where it makes any."""
    [claims] = sections(comparison)["claims"]
    if claims.rows:
        print_table(claims)


def print_label_curve(comparison: Comparison) -> None:
    """Print the learning curve over human responses, and what it says, where there is one."""
    for shown in sections(comparison)["label curve"]:
        print_table(shown)
    if comparison.label_curve is not None:
        logger.info("%s", comparison.label_curve.conclusion)


def print_parity(manifest: dict[str, Any]) -> None:
    """Print a row for each side and file: size, distance from torch, and time of a text on one thread."""
    rows: list[columns.Row] = []
    for side, entry in manifest["encoders"].items():
        for precision in ("fp32", "int8"):
            figures = entry[precision]
            row = {"side": side, "megabytes": figures["size_bytes"] / 1e6, **figures}
            rows.append({**row, "torch_latency_ms": entry["torch_latency_ms"]})
    print_table(table("ONNX Runtime and torch on the same texts", columns.PARITY, rows))


def print_table(shown: Table, title: str | None = None) -> None:
    """Print a table as wide as the terminal, or as the widest table; nothing for a job that is quiet.

    Its first column is text.
    """
    printed = rich_table.Table(title=title or shown.title)
    for number, column in enumerate(shown.columns):
        printed.add_column(column.title, justify="right" if number else "left")
    for cells in shown.texts():
        printed.add_row(*cells)

    if logger.isEnabledFor(logging.INFO):
        Console(width=None if Console().is_terminal else _WIDTH).print(printed)
