"""Small multiples of a sweep: for each parameter, the score of every trial against its setting."""

from collections.abc import Sequence
from typing import Any

from jobs.reports.charts import Dot, Plane, Scale
from jobs.sweeps.config import Parameter, SweepConfig
from student.evaluation.statistics import Interval

BEST_COLOUR = "#d55e00"
_COLOUR = "#1d6fb8"
_HEIGHT_PX = 190


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
