"""Writes a comparison of systems: JSON, the page, Markdown tables, W&B."""

import logging
import re
from dataclasses import asdict
from pathlib import Path

from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import Tracker
from jobs.reports.comparison import Comparison
from jobs.reports.comparison_page import comparison_page
from jobs.reports.tables import all_tables, sections, systems_table
from jobs.reports.terminal import print_claims, print_label_curve, print_systems

logger = logging.getLogger(__name__)

GENERATED = "generated"


def marks(part: str) -> tuple[str, str]:
    """The lines of a document between which a generated part of it stands."""
    return f"<!-- {part}: begin -->", f"<!-- {part}: end -->"


def publish(
    comparison: Comparison, run: RunDirectory, tracker: Tracker, results: str | None, part: str = GENERATED
) -> None:
    """Write `report/comparison.json`, `report/index.html`, `report/results.md` and W&B's tables.

    What is between the `marks` of `part` in the file `results` becomes the Markdown, see `check_document`.
    """
    run.write_json(asdict(comparison), "report", "comparison.json")
    run.write_text(comparison_page(comparison), "report", "index.html")
    markdown = as_markdown(comparison)
    run.write_text(markdown, "report", "results.md")
    if results is not None:
        replace_generated(Path(results), markdown, part)

    plain_tables = {}
    for table in all_tables(comparison):
        key = re.sub(r"[^\w.-]+", "-", table.title.lower())  # as W&B's file names may be
        plain_tables[f"comparison/{key}"] = table.plain()
    tracker.log_tables(plain_tables)
    print_systems(comparison.tables)
    print_claims(comparison)
    print_label_curve(comparison)
    logger.info("report: %s", run.at("report", "index.html"))


def as_markdown(comparison: Comparison) -> str:
    """The figures as Markdown tables, with where they come from."""
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    lines = [
        f"{comparison.date}, {comparison.machine}; {versions}; "
        f"commit {(comparison.git_commit or 'unknown')[:10]}; "
        f"seeds {', '.join(map(str, comparison.seeds))}; `{comparison.command}`",
        "",
        *comparison.notes,
    ]
    if comparison.label_curve is not None:
        lines += ["", comparison.label_curve.conclusion]

    for held_out in comparison.tables:
        counts = (
            f"{held_out.contexts} contexts of {held_out.conversations} conversations, "
            f"{held_out.responses} responses."
        )
        lines += ["", f"### {held_out.name[:1].upper()}{held_out.name[1:]}", ""]
        lines += [held_out.explanation, "", counts, ""]
        lines += systems_table(held_out).select(*held_out.metrics, "difference").markdown()

    for tables in sections(comparison).values():
        for table in tables:
            if table.rows:
                lines += ["", f"### {table.title}", "", *table.markdown()]
    return "\n".join(lines) + "\n"


def check_document(results: str | None, part: str = GENERATED) -> None:
    """Raise ValueError if `results` has no such part for the Markdown."""
    if results is not None:
        _around_generated(Path(results), part)


def replace_generated(file: Path, markdown: str, part: str = GENERATED) -> None:
    """Write the Markdown between the marks of the file; ValueError if it has not just one of each."""
    before, after = _around_generated(file, part)
    begin, end = marks(part)
    file.write_text(f"{before}{begin}\n\n{markdown}\n{end}{after}")


def _around_generated(file: Path, part: str) -> tuple[str, str]:
    begin, end = marks(part)
    try:
        content = file.read_text()
    except OSError as error:
        raise ValueError(f"--results {file}: {error.strerror}") from None

    before, _, rest = content.partition(begin)
    _, _, after = rest.partition(end)
    if content.count(begin) != 1 or content.count(end) != 1 or end not in rest:
        raise ValueError(f"--results {file}: expected a line {begin} and, after it, one {end}")
    return before, after
