"""The report page of a sweep, and its charts in a real headless Chromium."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from jobs.sweeps.config import SweepConfig
from jobs.sweeps.page import BEST_COLOUR, score_charts, sweep_page

NARROW_PX, WIDE_PX = 390, 1280
DRAWN = "<h2>Settings and scores</h2>"
PARAMETERS: dict[str, Any] = {
    "student.learning_rate": {"min": 1e-5, "max": 1e-1, "distribution": "log_uniform_values"},
    "targets.combination": {"values": ["mean_of_scores", "mean_of_distributions", "<b>%{x}</b>"]},
    "student.epochs": {"min": 1, "max": 3},
    "student.random_negatives": {"min": 0, "max": 512},
    "student.kl_weight": {"min": 0.0, "max": 0.5, "distribution": "uniform"},
    "student.sparsity.regulariser_weight": {"min": 1e-6, "max": 1, "distribution": "log_uniform_values"},
    "student.student_temperature": {"values": [0.5, 1, 2]},
    "targets.temperature": {"min": 0.25, "max": 2.0},
    "student.max_tokens": {"value": 32},
}


def sweep_of(*keys: str) -> SweepConfig:
    metric = {"name": "train/validation_mrr", "goal": "maximize"}
    return SweepConfig(method="random", metric=metric, parameters={key: PARAMETERS[key] for key in keys})


def trial(score: float | None, *, stopped: bool = False, **changes: Any) -> dict[str, Any]:
    return {
        "trial": f"{score}",
        "changes": {key.replace("__", "."): value for key, value in changes.items()},
        "score": score,
        "validations": 3,
        "stopped": stopped,
        "error": None,
    }


def trials_of(sweep: SweepConfig, count: int) -> list[dict[str, Any]]:
    """Best first, spread over all settings."""
    trials = []
    for number in range(count):
        changes = {}
        for place, (key, parameter) in enumerate(sweep.parameters.items(), 1):
            share = number * place % count / count
            values = parameter.values or [parameter.value]
            changes[key] = values[int(share * len(values))]
            if parameter.min is not None and parameter.max is not None:
                drawn = parameter.min + share * (parameter.max - parameter.min)
                changes[key] = round(drawn) if parameter.is_whole else drawn
        trials.append({**trial(0.5 - number / 1000, stopped=number % 3 == 1), "changes": changes})
    return trials


def test_the_page_shows_every_trial_and_escapes_what_failed() -> None:
    changes = {"student__learning_rate": 1e-5, "student__max_tokens": 32}
    trials = [
        trial(0.5, **changes),
        trial(0.25, stopped=True, **{**changes, "student__learning_rate": 1e-3}),
        {**trial(None, **changes), "error": "<b>too large</b>"},
    ]
    sweep = sweep_of("student.learning_rate", "student.max_tokens")
    page = sweep_page(sweep, trials)
    assert "Best: <code>--student.learning_rate 1e-05 --student.max_tokens 32</code>" in page
    table = page.split("<h2>Trials</h2>")[-1]
    assert "0.5000" in table and "early" in table and "&lt;b&gt;too large" in table and "<b>" not in table
    assert DRAWN in page
    # Nothing to compare: one score, or one setting.
    assert DRAWN not in sweep_page(sweep, trials[::2])
    assert DRAWN not in sweep_page(sweep_of("student.max_tokens"), trials)


def test_each_parameter_that_varies_has_a_dot_for_every_trial() -> None:
    sweep = sweep_of("student.learning_rate", "student.student_temperature", "student.max_tokens")
    settings = ("student__learning_rate", "student__student_temperature", "student__max_tokens")
    rows = [(0.4, 1e-5, 2, 32), (0.3, 1e-3, 1, 32), (0.2, 1e-1, 0.5, 32)]
    trials = [
        trial(score, stopped=score == 0.2, **dict(zip(settings, row, strict=True))) for score, *row in rows
    ]
    charts = score_charts(sweep, trials)
    assert list(charts) == ["student.learning_rate", "student.student_temperature"]

    *others, best = charts["student.learning_rate"].dots
    assert [(dot.x, dot.interval.mean) for dot in others] == [(1e-1, 0.2), (1e-3, 0.3)]
    assert (best.x, best.interval.mean) == (1e-5, 0.4)
    assert best.colour == BEST_COLOUR != others[0].colour
    assert best.radius > others[0].radius
    assert [dot.is_open for dot in (*others, best)] == [True, False, False]
    assert charts["student.learning_rate"].x.is_log

    # The values 0.5, 1 and 2 are at equal distances.
    temperatures = charts["student.student_temperature"]
    assert [dot.x for dot in temperatures.dots] == [0, 1, 2]
    assert temperatures.categories == ["0.5", "1", "2"]


@pytest.mark.parametrize(("num_parameters", "num_trials"), [(1, 2), (9, 100)])
@pytest.mark.parametrize("width", [WIDE_PX, NARROW_PX])
def test_the_charts_are_drawn_and_fit_the_page(
    browser: Browser, tmp_path: Path, width: int, num_parameters: int, num_trials: int
) -> None:
    sweep = sweep_of(*list(PARAMETERS)[:num_parameters])
    (tmp_path / "sweep.html").write_text(sweep_page(sweep, trials_of(sweep, num_trials)))
    page = browser.new_page(viewport={"width": width, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto((tmp_path / "sweep.html").as_uri())

    # The constant has no chart.
    num_charts = min(num_parameters, 8)
    expect(page.locator(".multiples circle")).to_have_count(num_charts * num_trials)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    widths = page.locator(".multiples .chart").evaluate_all(
        "charts => charts.map(chart => chart.getBoundingClientRect().width)"
    )
    assert len(widths) == num_charts and all(300 <= chart <= width for chart in widths)

    best = page.locator(".chart").first.locator("g").last
    expect(best.locator("circle")).to_be_visible()
    title = best.locator("title")
    expect(title).to_contain_text("0.5000 validation_mrr")
    expect(title).to_contain_text(f"student.learning_rate {1e-5:.3g}")
    if num_parameters > 1:
        expect(title).to_contain_text("targets.combination mean_of_scores")
    assert errors == []
    page.close()
