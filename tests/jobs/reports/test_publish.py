"""Markdown and tables have the figures of a comparison, and the document keeps its own words."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.reports.publish import GENERATED, as_markdown, marks, replace_generated
from jobs.reports.tables import all_tables
from student.evaluation.statistics import Interval
from tests.jobs.reports.comparison_example import comparison_example

BEGIN, END = marks(GENERATED)


def test_every_mean_of_the_systems_is_in_the_markdown() -> None:
    comparison = comparison_example()
    markdown = as_markdown(comparison)
    for table in comparison.tables:
        for row in table.rows:
            value = row.metrics["mrr"]
            cell = f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"
            assert cell in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in lines if "hits@1/20" in line}) >= 1
    assert comparison.command in markdown and comparison.date in markdown


def test_a_bar_in_a_name_breaks_no_row() -> None:
    comparison = replace(comparison_example(), filters={"a|b": {"kept": 3}})
    assert "| a\\|b | 3 |" in as_markdown(comparison)


def test_tables_are_plain_and_rectangular() -> None:
    for table in all_tables(comparison_example()):
        titles, rows = table.plain()
        assert rows and {len(row) for row in rows} == {len(titles)}
        assert len(set(titles)) == len(titles)
        assert all(isinstance(cell, str | int | float | None) for row in rows for cell in row)


def test_intervals_are_shown_with_their_bounds() -> None:
    comparison = comparison_example()
    first = replace(comparison.answers[0], words=Interval(8.0, 7.5, 8.25))
    comparison = replace(comparison, answers=[first])
    assert "| 8.000 [7.500, 8.250] |" in as_markdown(comparison)

    [table] = [table for table in all_tables(comparison) if table.title == "Responses"]
    titles, [row] = table.plain()
    cells = dict(zip(titles, row, strict=True))
    assert [cells[name] for name in ("words", "words low", "words high")] == [8.0, 7.5, 8.25]


def test_a_difference_is_plain_with_its_p_value() -> None:
    differences = all_tables(comparison_example())[1]
    titles, rows = differences.plain()
    assert titles[:2] == ["system", "against"]
    assert {"mrr", "mrr low", "mrr high", "mrr p-value"} <= set(titles)
    assert len(rows) == 2 * 9  # each trained system against the two before it


def test_a_missing_part_has_no_table() -> None:
    comparison = replace(comparison_example(), latency=None, sparsity={}, filters={})
    titles = {table.title for table in all_tables(comparison)}
    assert not {"Latency of systems", "Latency of teachers", "Sparsity", "Filters"} & titles


def test_only_the_generated_part_of_a_document_changes(tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    replace_generated(document, "new")
    assert document.read_text() == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    replace_generated(document, "new")
    assert document.read_text().count("new") == 1


@pytest.mark.parametrize("content", ["no marks", f"{BEGIN} only", f"{END}{BEGIN}{END}"])
def test_a_document_without_marks_is_refused(content: str, tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text(content)
    with pytest.raises(ValueError, match="expected a line"):
        replace_generated(document, "new")
    assert document.read_text() == content
