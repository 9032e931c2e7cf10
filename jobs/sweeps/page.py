"""The report of a sweep: one page with charts and a table, and the same figures as JSON."""

from pathlib import Path
from typing import Any

from jobs.execution.run_directory import RunDirectory, circumstances
from jobs.reports.pages import environment
from jobs.sweeps.charts import BEST_COLOUR, score_charts, setting_text
from jobs.sweeps.config import SweepConfig
from jobs.sweeps.trials import in_words


def write_report(run: RunDirectory, sweep: SweepConfig, trials: list[dict[str, Any]]) -> None:
    """Write `report/sweep.json` and `report/sweep.html` of the trials, best first."""
    run.write_json(
        {"sweep": sweep.model_dump(mode="json"), "trials": trials, **circumstances()}, "report", "sweep.json"
    )
    run.write_text(sweep_page(sweep, trials), "report", "sweep.html")


def sweep_page(sweep: SweepConfig, trials: list[dict[str, Any]]) -> str:
    """The page."""
    scored = [trial for trial in trials if trial["score"] is not None]

    template = environment(Path(__file__).parent).get_template("sweep.html.j2")
    return template.render(
        sweep=sweep,
        trials=trials,
        keys=list(sweep.parameters),
        best=in_words(scored[0]["changes"]) if scored else None,
        charts=score_charts(sweep, scored),
        best_colour=BEST_COLOUR,
        setting_text=setting_text,
        circumstances=circumstances(),
    )
