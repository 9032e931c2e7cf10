"""The report of a sweep: one page with parallel coordinates and a table, and the same figures as JSON."""

from pathlib import Path
from typing import Any

from jobs.execution.run_directory import RunDirectory, circumstances
from jobs.reports.pages import chart_html, environment, plotly_js
from jobs.sweeps.config import SweepConfig
from jobs.sweeps.parallel_coordinates import BEST_COLOUR, least_and_most_px, parallel_coordinates, shown
from jobs.sweeps.trials import in_words


def write_report(run: RunDirectory, sweep: SweepConfig, trials: list[dict[str, Any]]) -> None:
    """Writes `report/sweep.json` and `report/sweep.html` of the trials, best first."""
    run.write_json(
        {"sweep": sweep.model_dump(mode="json"), "trials": trials, **circumstances()}, "report", "sweep.json"
    )
    run.write_text(sweep_page(sweep, trials), "report", "sweep.html")


def sweep_page(sweep: SweepConfig, trials: list[dict[str, Any]]) -> str:
    """The page."""
    template = environment(Path(__file__).parent).get_template("sweep.html.j2")
    scored = [trial for trial in trials if trial["score"] is not None]
    return template.render(
        shown=shown,
        sweep=sweep,
        trials=trials,
        keys=list(sweep.parameters),
        best=in_words(scored[0]["changes"]) if scored else None,
        chart=_chart(sweep, scored),
        best_colour=BEST_COLOUR,
        plotly_js=plotly_js(),
        circumstances=circumstances(),
    )


def _chart(sweep: SweepConfig, trials: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Parallel coordinates, and how wide they may be; None where there is nothing to compare."""
    figure = parallel_coordinates(sweep, trials)
    if figure is None:
        return None
    least_px, most_px = least_and_most_px(figure)
    return {"html": chart_html(figure, "trials"), "least_px": least_px, "most_px": most_px}
