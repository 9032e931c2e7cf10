"""Where a comparison's figures go: JSON, the page, Markdown tables, W&B."""

from pathlib import Path
from typing import Any

from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import Tracker
from jobs.reports.comparison_page import comparison_page
from jobs.reports.terminal import compared_by, print_ladder

Table = tuple[list[str], list[list[Any]]]
GENERATED = "generated"
_SHORT = {"mrr": "MRR"}


def marks(part: str) -> tuple[str, str]:
    """The lines of a document between which a generated part of it stands."""
    return f"<!-- {part}: begin -->", f"<!-- {part}: end -->"


def publish(
    found: dict[str, Any], run: RunDirectory, tracker: Tracker, results: str | None, part: str = GENERATED
) -> None:
    """Writes `report/comparison.json`, `report/index.html` and `report/results.md`, and W&B tables.

    What is between the `marks` of `part` in the file `results` becomes the Markdown, see `check_document`.
    """
    run.write_json(found, "report", "comparison.json")
    run.write_text(comparison_page(found), "report", "index.html")
    markdown = as_markdown(found)
    run.write_text(markdown, "report", "results.md")
    if results is not None:
        replace_generated(Path(results), markdown, part)
    tracker.log_tables({f"comparison/{name}": table for name, table in plain_tables(found).items()})
    print_ladder(found["tables"])
    print(f"report: {run.at('report', 'index.html')}")


def as_markdown(found: dict[str, Any]) -> str:
    """The figures as Markdown tables, with where they come from."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        f"{found['date']}, {found['machine']}; {versions}; commit {(found['git_commit'] or 'unknown')[:10]}; "
        f"seeds {', '.join(map(str, found['seeds']))}; `{found['command']}`",
        "",
        *found["notes"],
    ]
    for table in found["tables"]:
        lines += ["", f"### {table['name'].capitalize()}", "", table["explanation"], ""]
        lines.append(
            f"{table['contexts']} contexts of {table['conversations']} conversations, "
            f"{table['responses']} responses."
        )
        lines += ["", *_ladder_table(table)]
    for name, (columns, rows) in _tables(found).items():
        if name not in _WITH_INTERVALS:
            lines += ["", f"### {name.capitalize()}", "", *_markdown_table(columns, rows)]
    return "\n".join(lines) + "\n"


_WITH_INTERVALS = ("ladder", "differences")


def _ladder_table(table: dict[str, Any]) -> list[str]:
    metrics, main = list(table["rows"][0]["metrics"]), compared_by(table)
    rows = []
    for row in table["rows"]:
        cells = [_with_interval(row["metrics"][metric]) for metric in metrics]
        differences = (_difference(against, compared_by(table)) for against in row["against"])
        rows.append([row["system"], *cells, "; ".join(differences)])
    return _markdown_table(["system", *metrics, f"{_SHORT.get(main, main)} and p against"], rows)


def _with_interval(value: dict[str, float]) -> str:
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _difference(against: dict[str, Any], metric: str) -> str:
    found = against["differences"][metric]
    return (
        f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}], p {found['p_value']:.4f} "
        f"({against['system']})"
    )


def _markdown_table(columns: list[str], rows: list[list[Any]]) -> list[str]:
    def line(cells: list[Any]) -> str:
        return "| " + " | ".join(_shown(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(columns), "|" + "---|" * len(columns), *map(line, rows)]


def _shown(cell: Any) -> str:
    if isinstance(cell, dict):
        return _with_interval(cell)
    return f"{cell:.3f}" if isinstance(cell, float) else "" if cell is None else str(cell)


def plain_tables(found: dict[str, Any]) -> dict[str, Table]:
    """The figures as tables of plain cells, by name: columns and rows; an interval has three columns."""
    return {name: _plain(table) for name, table in _tables(found).items()}


def _plain(table: Table) -> Table:
    columns, rows = table
    wide = [any(isinstance(row[column], dict) for row in rows) for column in range(len(columns))]
    plain: Table = ([], [[] for _ in rows])
    for column, (name, is_wide) in enumerate(zip(columns, wide, strict=True)):
        plain[0].extend([name, f"{name} low", f"{name} high"] if is_wide else [name])
        for row, cells in zip(rows, plain[1], strict=True):
            cell = row[column]
            bounds = [cell["mean"], cell["low"], cell["high"]] if isinstance(cell, dict) else [None] * 3
            cells.extend(bounds if is_wide else [cell])
    return plain


def _tables(found: dict[str, Any]) -> dict[str, Table]:
    """The figures as tables, by name: columns and rows, of plain cells and intervals."""
    interval, bounds = ["mean", "low", "high"], ("mean", "low", "high")
    ladder = [
        [table["name"], row["system"], row["seeds"], metric, *(value[bound] for bound in bounds)]
        for table in found["tables"]
        for row in table["rows"]
        for metric, value in row["metrics"].items()
    ]
    differences = [
        [table["name"], row["system"], other["system"], metric, *(value[key] for key in (*bounds, "p_value"))]
        for table in found["tables"]
        for row in table["rows"]
        for other in row["against"]
        for metric, value in other["differences"].items()
    ]
    answers = [
        [row[key] for key in ("system", "distinct_1", "distinct_2", "words", "generated_share")]
        for row in found["answers"]
    ]
    judged = [
        [row["system"], judge["teacher"], "yes" if judge["trained_on"] else "no"]
        + [judge[key] for key in ("mutual_information", "win_rate_human", "win_rate_generated")]
        for row in found["answers"]
        for judge in row["judgements"]
    ]
    teachers = [
        [name, *(values[key] for key in ("hits@1/20", "mrr", "cross_entropy", "entropy", "contexts"))]
        for name, values in found["teachers"]["measures"].items()
    ]
    ratings = [
        [row["scorer"]]
        + [row.get(key) for key in ("spearman", "kendall", "spearman_within", "kendall_within")]
        for row in found["teachers"]["ratings"]
    ]
    latency = [
        [name, values["p50_ms"], values["p95_ms"], values["requests"]]
        for part in ("teachers", "students")
        for name, values in (found["latency"] or {}).get(part, {}).items()
    ]
    sparsity = [[name, *values.values()] for name, values in found["sparsity"].items()]
    filters = [
        [teacher, reason, count]
        for teacher, counts in found["filters"].items()
        for reason, count in counts.items()
    ]
    tables = {
        "ladder": (["held out", "system", "seeds", "metric", *interval], ladder),
        "differences": (["held out", "system", "against", "metric", *interval, "p_value"], differences),
        "answers": (["system", "dist-1", "dist-2", "words", "share generated"], answers),
        "judgements": (
            ["system", "judge", "trained it", "mutual information", "wins over human", "wins over generated"],
            judged,
        ),
        "teachers": (["teacher", "hits@1/20", "mrr", "cross-entropy", "entropy", "contexts"], teachers),
        "human ratings": (
            ["scores", "Spearman", "Kendall", "Spearman within contexts", "Kendall within contexts"],
            ratings,
        ),
        "latency": (["system", "p50 ms", "p95 ms", "requests"], latency),
        "sparsity": (["system", "context terms", "response terms", "FLOPs"], sparsity),
        "filters": (["teacher", "outcome", "responses"], filters),
    }
    return {name: table for name, table in tables.items() if table[1]}


def check_document(results: str | None, part: str = GENERATED) -> None:
    """Raises ValueError where `results` is given and has no such part for the Markdown."""
    if results is not None:
        _around_generated(Path(results), part)


def replace_generated(file: Path, markdown: str, part: str = GENERATED) -> None:
    """Writes the Markdown between the marks of the file.

    Raises:
        ValueError: it does not have just one of each, in this order.
    """
    before, after = _around_generated(file, part)
    begin, end = marks(part)
    file.write_text(f"{before}{begin}\n\n{markdown}\n{end}{after}")


def _around_generated(file: Path, part: str) -> tuple[str, str]:
    wanted_begin, wanted_end = marks(part)
    try:
        content = file.read_text()
    except OSError as error:
        raise ValueError(f"--results {file}: {error.strerror}") from None
    before, begin, rest = content.partition(wanted_begin)
    _, end, after = rest.partition(wanted_end)
    if not (begin and end) or content.count(wanted_begin) + content.count(wanted_end) != 2:
        raise ValueError(
            f"--results {file}: wanted are a line {wanted_begin} and, after it, one {wanted_end}"
        )
    return before, after
