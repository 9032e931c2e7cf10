"""What a job shows at its end: `report/metrics.json` and tables."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.execution.run_directory import RunDirectory

_SYSTEM_COLUMNS = ("hits@1/20", "mrr", "recall@1", "recall@10", "recall@100", "contexts", "responses")
_LADDER = ("hits@1/20", "ndcg@3", "mrr", "token F1", "exact match")  # of these, those that were measured
_SPARSE_COLUMNS = ("context_terms", "response_terms", "flops")
_TEACHER_COLUMNS = ("hits@1/20", "mrr", "cross_entropy", "entropy", "spread", "contexts")
_COUNTS = ("contexts", "responses")
_WIDTH = 144  # of a log: the widest table fits


def report_metrics(run: RunDirectory, metrics: dict[str, Any]) -> None:
    """Writes and prints what is known of every system and teacher."""
    run.write_json(metrics, "report", "metrics.json")
    systems, teachers = metrics["systems"], dict(metrics["teachers"])
    agreement = teachers.pop("kendall_tau")
    terminal = console()
    sparse = tuple(column for column in _SPARSE_COLUMNS if any(column in row for row in systems.values()))
    terminal.print(_table("held-out conversations", "system", (*_SYSTEM_COLUMNS, *sparse), systems))
    terminal.print(
        _table("teachers on held-out contexts, entropies in nats", "teacher", _TEACHER_COLUMNS, teachers)
    )
    if agreement:
        taus = ", ".join(f"{pair} {tau:.2f}" for pair, tau in agreement.items())
        terminal.print(f"agreement of teachers (Kendall's tau): {taus}", highlight=False)
    for teacher, counts in metrics["responses"].items():
        dropped = ", ".join(f"{reason} {count}" for reason, count in counts.items() if reason != "kept")
        terminal.print(f"{teacher} wrote: kept {counts['kept']}, {dropped}", highlight=False)
    for teacher, noise in metrics["scoring"].items():
        if "noise_nats_per_token" in noise:
            terminal.print(
                f"{teacher} scored {noise['pairs scored twice']} pairs twice, at most "
                f"{noise['noise_nats_per_token']:.2g} nats/token apart",
                highlight=False,
            )


def console() -> Console:
    """Of a terminal, or as wide as the widest table."""
    return Console(width=None if Console().is_terminal else _WIDTH)


def report_training(run: RunDirectory, reports: list[dict[str, Any]]) -> None:
    """Writes the learning curve to `report/learning_curve.json` and prints its validations.

    A system of a comparison is one of many: its curve is in the comparison's report.
    """
    run.write_json(reports, "report", "learning_curve.json")
    if run.is_part:
        return
    validated = {
        f"step {line['step']}": {
            name.removeprefix("validation_"): value
            for name, value in {"training loss": line["loss"], **line}.items()
            if name == "training loss" or name.startswith("validation_")
        }
        for line in reports
        if "validation_mrr" in line
    }
    columns = ("training loss", "loss", "mrr", "hits@1/20", "context_terms", "response_terms", "flops")
    shown = tuple(column for column in columns if any(column in values for values in validated.values()))
    if validated:
        console().print(_table("validation while training", "", shown, validated))


def _table(title: str, first: str, columns: tuple[str, ...], rows: dict[str, dict[str, float]]) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, values in rows.items():
        cells = [
            "" if column not in values else f"{values[column]:.{0 if column in _COUNTS else 3}f}"
            for column in columns
        ]
        table.add_row(name, *cells)
    return table


def compared_by(table: dict[str, Any]) -> str:
    """The metric by which a table's systems are held against each other."""
    return str(table.get("compared_by", "mrr"))


def print_ladder(tables: Iterable[dict[str, Any]]) -> None:
    """Prints every system of a comparison, on each of its held-out sets."""
    for found in tables:
        table = Table(title=f"{found['name']}, {found['contexts']} contexts, with 95 % intervals")
        shown = [metric for metric in _LADDER if metric in found["rows"][0]["metrics"]]
        main = compared_by(found)
        for title in ("system", *shown, f"difference in {main}"):
            table.add_column(title)
        for row in found["rows"]:
            metrics = row["metrics"]
            means = [
                f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
                for value in (metrics[metric] for metric in shown)
            ]
            differences = [
                f"{value['mean']:+.3f} to {other['system']}, p {value['p_value']:.4f}"
                for other in row["against"]
                for value in (other["differences"][main],)
            ]
            table.add_row(row["system"], *means, "\n".join(differences))
        console().print(table)


def print_timings(run: RunDirectory, stages: list[str]) -> None:
    """One line: what each stage took when it was done."""
    seconds = {stage: run.read_json("stages", f"{stage}.json")["seconds"] for stage in stages}
    parts = ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
    print(f"seconds by stage: {parts}; together {sum(seconds.values()):.0f}")
