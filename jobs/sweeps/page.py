"""The report of a sweep: one page with charts and a table, and the same figures as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.execution.run_directory import RunDirectory, circumstances, provenance
from jobs.reports.charts import Dot, Plane, Scale
from jobs.reports.columns import Column, Table
from jobs.reports.pages import environment
from jobs.sweeps.config import Parameter, SweepConfig
from jobs.sweeps.trials import in_words
from student.evaluation.statistics import Interval

BEST_COLOUR = "#d55e00"
_COLOUR = "#1d6fb8"
_HEIGHT_PX = 190


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
        num_trials=len(trials),
        table=_trials_table(sweep, trials),
        best=in_words(scored[0]["changes"]) if scored else None,
        charts=score_charts(sweep, scored),
        best_colour=BEST_COLOUR,
        circumstances=provenance(),
    )


def _trials_table(sweep: SweepConfig, trials: list[dict[str, Any]]) -> Table:
    columns = [Column("score", sweep.metric.name.removeprefix("train/"))]
    columns += [Column(key, key) for key in sweep.parameters]
    columns += [
        Column("validations", "validations", "d"),
        Column("ended", "ended"),
        Column("folder", "folder"),
    ]
    rows = []
    for trial in trials:
        ended = trial["error"] or ("early" if trial["stopped"] else "complete")
        settings = {key: setting_text(value) for key, value in trial["changes"].items()}
        score = "none" if trial["score"] is None else f"{trial['score']:.4f}"
        row = {"score": score, "validations": trial["validations"], "ended": ended}
        rows.append({**row, **settings, "folder": f"trials/{trial['trial']}"})
    return Table("Trials", columns, rows)


def score_charts(sweep: SweepConfig, trials: Sequence[dict[str, Any]]) -> dict[str, Plane]:
    """A chart for each parameter that varies, by name; none with fewer than two trials.

    The trials come best first and have scores.
    """
    if len(trials) < 2:
        return {}

    charts = {}
    for key, parameter in sweep.parameters.items():
        if parameter.min is not None or len(parameter.values or []) > 1:
            charts[key] = _score_chart(key, parameter, sweep, trials)
    return charts


def setting_text(value: Any) -> str:
    """A setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _score_chart(
    key: str, parameter: Parameter, sweep: SweepConfig, trials: Sequence[dict[str, Any]]
) -> Plane:
    values = parameter.values or []
    dots = []
    for trial in reversed(trials):  # the best one is drawn last, over the others
        setting, score, is_best = trial["changes"][key], trial["score"], trial is trials[0]
        dots.append(
            Dot(
                x=values.index(setting) if values else setting,
                interval=Interval(score, score, score),
                colour=BEST_COLOUR if is_best else _COLOUR,
                title=_trial_text(sweep, trial),
                radius=6 if is_best else 3.5,
                is_open=trial["stopped"],
            )
        )

    if values:
        x = Scale(-0.5, len(values) - 0.5)  # equal distances, in the order of the config
    else:
        is_log = parameter.distribution == "log_uniform_values"
        x = Scale.over([dot.x for dot in dots], is_log)
    y = Scale.over([trial["score"] for trial in trials])
    return Plane(x, y, dots=dots, height=_HEIGHT_PX, categories=list(map(setting_text, values)))


def _trial_text(sweep: SweepConfig, trial: dict[str, Any]) -> str:
    lines = [f"{trial['score']:.4f} {sweep.metric.name.removeprefix('train/')}"]
    for key, value in trial["changes"].items():
        lines.append(f"{key} {setting_text(value)}")
    if trial["stopped"]:
        lines.append(f"stopped early, after validation {trial['validations']}")
    return "\n".join(lines)
