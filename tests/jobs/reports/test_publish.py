"""Markdown and tables have the figures of a comparison, and the document keeps its own words."""

from pathlib import Path

import pytest

from jobs.reports.publish import GENERATED, as_markdown, marks, plain_tables, replace_generated
from tests.jobs.reports.comparison_example import comparison_example

BEGIN, END = marks(GENERATED)


def test_every_mean_of_the_ladder_is_in_the_markdown() -> None:
    comparison = comparison_example()
    markdown = as_markdown(comparison)
    for table in comparison["tables"]:
        for row in table["rows"]:
            value = row["metrics"]["mrr"]
            cell = f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
            assert cell in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in lines if "hits@1/20" in line}) >= 1
    assert comparison["command"] in markdown and comparison["date"] in markdown


def test_a_bar_in_a_name_breaks_no_row() -> None:
    comparison = comparison_example()
    comparison["filters"] = {"a|b": {"kept": 3}}
    assert "| a\\|b | kept | 3 |" in as_markdown(comparison)


def test_tables_are_plain_and_rectangular() -> None:
    for columns, rows in plain_tables(comparison_example()).values():
        assert rows and {len(row) for row in rows} == {len(columns)}
        assert all(isinstance(cell, str | int | float | None) for row in rows for cell in row)


def test_intervals_are_shown_with_their_bounds() -> None:
    comparison = comparison_example()
    comparison["answers"] = comparison["answers"][:1]
    comparison["answers"][0]["words"] = {"mean": 8.0, "low": 7.5, "high": 8.25}
    assert "| 8.000 [7.500, 8.250] |" in as_markdown(comparison)
    columns, [row] = plain_tables(comparison)["answers"]
    of_words = dict(zip(columns, row, strict=True))
    assert [of_words[name] for name in ("words", "words low", "words high")] == [8.0, 7.5, 8.25]


def test_what_is_missing_has_no_table() -> None:
    comparison = {**comparison_example(), "latency": None, "sparsity": {}, "filters": {}}
    assert not {"latency", "sparsity", "filters"} & plain_tables(comparison).keys()


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
    with pytest.raises(ValueError, match="wanted are a line"):
        replace_generated(document, "new")
    assert document.read_text() == content
