"""What a job shows at its end: `report/metrics.json` and a table."""

from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.run_directory import RunDirectory

_COLUMNS = ("hits@1/20", "mrr", "recall@1", "recall@10", "recall@100")


def report_metrics(run: RunDirectory, metrics: dict[str, Any]) -> None:
    """Writes and prints the metrics of every system and teacher."""
    run.write_json(metrics, "report", "metrics.json")
    table = Table(title="held-out conversations")
    table.add_column("system")
    for name in (*_COLUMNS, "contexts", "responses"):
        table.add_column(name, justify="right")
    for kind, systems in metrics.items():
        for system, values in systems.items():
            table.add_row(
                system if kind == "systems" else f"teacher {system}",
                *(f"{values[name]:.3f}" if name in values else "" for name in _COLUMNS),
                *(f"{values[name]:.0f}" if name in values else "" for name in ("contexts", "responses")),
            )
        table.add_section()
    Console(width=None if Console().is_terminal else 120).print(table)


def print_timings(run: RunDirectory, stages: list[str]) -> None:
    """One line: what each stage took when it was done."""
    seconds = {stage: run.read_json("stages", f"{stage}.json")["seconds"] for stage in stages}
    parts = ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
    print(f"seconds by stage: {parts}; together {sum(seconds.values()):.0f}")
