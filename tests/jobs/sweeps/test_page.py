"""The report page of a sweep, and its chart in a real headless Chromium."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from jobs.sweeps.config import SweepConfig
from jobs.sweeps.page import sweep_page
from jobs.sweeps.parallel_coordinates import parallel_coordinates

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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
    found = []
    for number in range(count):
        changes = {}
        for place, (key, parameter) in enumerate(sweep.parameters.items(), 1):
            share = number * place % count / count
            values = parameter.values or [parameter.value]
            changes[key] = values[int(share * len(values))]
            if parameter.min is not None and parameter.max is not None:
                drawn = parameter.min + share * (parameter.max - parameter.min)
                changes[key] = round(drawn) if parameter.is_whole else drawn
        found.append({**trial(0.5 - number / 1000, stopped=number % 3 == 1), "changes": changes})
    return found


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


def test_lines_pass_where_the_settings_are() -> None:
    sweep = sweep_of("student.learning_rate", "student.student_temperature", "student.kl_weight")
    settings = ("student__learning_rate", "student__student_temperature", "student__kl_weight")
    rows = [(0.4, 1e-5, 2, 0.0), (0.3, 1e-3, 1, 0.25), (0.2, 1e-1, 0.5, 0.5)]
    found = [
        trial(score, stopped=score == 0.2, **dict(zip(settings, row, strict=True))) for score, *row in rows
    ]
    figure = parallel_coordinates(sweep, found)
    assert figure is not None
    worst, middle, best = figure.data
    # Powers of ten from 1e-5 to 1e-1; three places at equal distances; from 0 to 0.5; scores from 0.2 to 0.4.
    assert best.y == pytest.approx((0, 5 / 6, 0, 1))
    assert middle.y == pytest.approx((0.5, 0.5, 0.5, 0.5))
    assert worst.y == pytest.approx((1, 1 / 6, 1, 0))
    assert best.line.width > middle.line.width and best.line.color != middle.line.color
    assert (best.line.dash, worst.line.dash) == ("solid", "dot")
    ticks = {(label.x, label.text): label.y for label in figure.layout.annotations}
    assert ticks[0, "0.001"] == pytest.approx(0.5) and ticks[1, "2"] == pytest.approx(5 / 6)
    assert ticks[2, "0.5"] == 1 and ticks[3, "0.20"] == 0


def test_lines_of_one_place_lie_side_by_side_and_within_it() -> None:
    sweep = sweep_of("student.student_temperature")
    figure = parallel_coordinates(
        sweep, [trial(1 - n / 100, student__student_temperature=1) for n in range(90)]
    )
    assert figure is not None
    heights = [line.y[0] for line in reversed(figure.data)]
    assert heights == sorted(set(heights), reverse=True)
    assert 1 / 3 < heights[-1] < heights[0] < 2 / 3


def test_ticks_of_one_axis_are_apart_and_within() -> None:
    keys = [key for key in PARAMETERS if key != "student.max_tokens"]
    figure = parallel_coordinates(sweep_of(*keys), trials_of(sweep_of(*keys), 30))
    assert figure is not None
    for number in range(len(keys) + 1):
        heights = sorted(label.y for label in figure.layout.annotations if label.x == number)
        assert 2 <= len(heights) <= 13 and heights[0] >= 0 and heights[-1] <= 1
        assert min(b - a for a, b in pairwise(heights)) > 0.08


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize(("num_parameters", "num_trials"), [(1, 2), (9, 100)])
@pytest.mark.parametrize("width", [WIDE_PX, NARROW_PX])
def test_the_chart_is_drawn_and_only_its_own_box_scrolls(
    browser: Browser, tmp_path: Path, width: int, num_parameters: int, num_trials: int
) -> None:
    sweep = sweep_of(*list(PARAMETERS)[:num_parameters])
    (tmp_path / "sweep.html").write_text(sweep_page(sweep, trials_of(sweep, num_trials)))
    page = browser.new_page(viewport={"width": width, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto((tmp_path / "sweep.html").as_uri())
    lines = page.locator("#trials .scatterlayer .trace")
    expect(lines).to_have_count(num_trials)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.get_by_role("region", name="Settings and scores")
    scrolls = box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert scrolls == (width == NARROW_PX and num_parameters > 2)
    # The constant has no axis; no title covers the next one.
    titles = page.locator("#trials .xtick text").evaluate_all(
        "titles => titles.map(title => title.getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    assert len(titles) == (2 if num_parameters == 1 else 9)
    assert all(end < start for (_, end), (start, _) in pairwise(titles))
    lines.last.locator(".point").first.hover(force=True)  # plotly lays its own layer over the lines
    told = page.locator("#trials .hoverlayer")
    expect(told).to_contain_text("0.5000 validation_mrr")
    expect(told).to_contain_text(f"student.learning_rate {1e-5:.3g}")
    if num_parameters > 1:
        expect(told).to_contain_text("targets.combination mean_of_scores")
    assert errors == []
    page.close()
