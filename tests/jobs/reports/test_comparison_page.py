"""The report page of a comparison."""

import re
from dataclasses import fields, is_dataclass, replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from jobs.reports.comparison import Comparison, ResponseTimes, Teachers
from jobs.reports.comparison_charts import comparison_figures
from jobs.reports.comparison_page import comparison_page
from student.evaluation.measured_systems import SystemRow
from student.evaluation.statistics import Interval
from tests.jobs.reports.comparison_example import comparison_example

_MARKUP = "<script>alert('π & \"ρ\"')</script>"


class _Page(HTMLParser):
    """What a page shows and what it asks for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.scripts = "", ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside = ""
        self.feed(html)

    @property
    def sections(self) -> list[str | None]:
        return [attributes["id"] for tag, attributes in self.tags if tag == "section"]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, text: str) -> None:
        if self._inside == "script":
            self.scripts += text
        elif self._inside != "style":
            self.text += text


@cache
def _example_page() -> _Page:
    return _Page(comparison_page(comparison_example()))


def test_every_system_is_named_in_every_section_that_is_about_systems() -> None:
    page = _example_page()
    for row in comparison_example().tables[0].rows:
        assert page.text.count(row.system) >= 3 + 1 + 20  # tables, answers, and contexts to read


def test_nothing_is_loaded_from_the_network() -> None:
    page = _example_page()
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base"), tag
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#"), attributes
    [policy] = [
        attributes["content"]
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None and policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_links_of_the_page_lead_somewhere() -> None:
    page = _example_page()
    targets = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert sorted(targets) == sorted(f"#{section}" for section in page.sections)


def test_the_charts_are_drawn_and_fit_a_phone_and_a_desk(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(comparison_page(comparison_example()))
    for width in (390, 1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        errors: list[str] = []
        page.on("console", lambda line: errors.append(line.text))  # noqa: B023
        page.goto((tmp_path / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Twelve systems, by two metrics, on three sets.
        expect(page.locator("#systems circle")).to_have_count(12 * 2 * 3)
        expect(page.locator("#latency circle")).to_have_count(12 + 2)

        line = page.locator('#curves polyline[data-group="0"]').last
        expect(line).to_be_visible()
        page.locator("#curves input").first.uncheck()
        expect(line).to_be_hidden()
        assert errors == []
        page.close()


def _with_markup(place: str) -> Comparison:
    comparison = comparison_example()
    first, *others = comparison.reading
    if place == "system":
        return _renamed(comparison, "BM25", _MARKUP)
    if place == "teacher":
        return _renamed(comparison, "gemma-3-270m", _MARKUP)
    if place == "title":
        return replace(comparison, title=_MARKUP)
    if place == "reason":
        return replace(comparison, filters={"gemma-3-270m": {"kept": 1, _MARKUP: 3}})

    if place == "turn":
        first = replace(first, context=[{"role": "user", "content": _MARKUP}])
    elif place == "gold":
        first = replace(first, gold=_MARKUP)
    elif place == "answer":
        first = replace(first, answers=[replace(first.answers[0], text=_MARKUP)])
    return replace(comparison, reading=[first, *others])


@pytest.mark.parametrize("place", ["system", "turn", "gold", "answer", "title", "teacher", "reason"])
def test_text_is_shown_and_not_run(place: str) -> None:
    comparison = _with_markup(place)
    page = _Page(comparison_page(comparison))
    assert _MARKUP in page.text
    assert "<script>alert" not in page.scripts
    scripts = [tag for tag, _ in page.tags].count("script")
    assert scripts == [tag for tag, _ in _example_page().tags].count("script")


@pytest.mark.parametrize(
    ("missing", "sections"),
    [
        (["claims"], {"claims"}),
        (["label_curve"], {"label-curve"}),
        (["latency"], {"latency"}),
        (["learning_curves"], {"curves"}),
        (["filters"], {"filters"}),
        (["answers"], {"answers"}),
        (["sparsity"], {"sparsity"}),
        (["reading"], {"reading"}),
        (["teachers"], {"teachers", "ratings"}),
        (
            [
                "claims",
                "label_curve",
                "latency",
                "learning_curves",
                "filters",
                "answers",
                "sparsity",
                "reading",
                "teachers",
            ],
            None,
        ),
    ],
)
def test_a_part_without_content_is_left_out(missing: list[str], sections: set[str] | None) -> None:
    empty: dict[str, Any] = {part: {} for part in missing}
    empty |= {part: None for part in ("latency", "label_curve") if part in missing}
    if "teachers" in missing:
        empty["teachers"] = Teachers()
    page = _Page(comparison_page(replace(comparison_example(), **empty)))
    remaining = {"systems"} if sections is None else set(_example_page().sections) - sections
    assert set(page.sections) == remaining
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} == {
        f"#{name}" for name in remaining
    }


def test_responses_that_nobody_judged_and_scorers_that_nobody_rated_need_no_charts() -> None:
    comparison = comparison_example()
    answers = [replace(row, judgements=[]) for row in comparison.answers]
    comparison = replace(comparison, answers=answers, teachers=replace(comparison.teachers, ratings=[]))
    page = _Page(comparison_page(comparison))
    assert "answers" in page.sections and "ratings" not in page.sections
    assert "Judged by" not in page.text


def test_a_metric_or_a_correlation_that_some_have_is_a_dash_for_the_others() -> None:
    comparison = comparison_example()
    rows = list(comparison.tables[0].rows)
    rows[1] = replace(rows[1], metrics={k: v for k, v in rows[1].metrics.items() if k != "mrr"})
    comparison = _with_rows(comparison, rows)
    first, *others = comparison.teachers.ratings
    ratings = [first, *(replace(rating, spearman_within=None, kendall_within=None) for rating in others)]
    comparison = replace(comparison, teachers=replace(comparison.teachers, ratings=ratings))

    dashes = comparison_page(comparison).count('class="none"')
    # The ensemble's spread, one system's mrr, the correlations within contexts, and what there is not with
    # responses of no conversation.
    assert dashes == 1 + 1 + 2 * len(others) + 2
    figures = comparison_figures(comparison)
    assert len(figures["systems 1"].charts["mrr"].rows) == 11
    assert len(figures["ratings"].charts["Spearman, within a context"].rows) == 1


def test_an_interval_that_goes_below_zero_is_read_without_guessing() -> None:
    comparison = comparison_example()
    first = replace(comparison.teachers.ratings[0], kendall=Interval(-0.015, -0.05, 0.02))
    comparison = replace(comparison, teachers=replace(comparison.teachers, ratings=[first]))
    text = _Page(comparison_page(comparison)).text
    assert "−0.015" in text and "−0.050 to 0.020" in text


def test_the_best_of_each_column_is_bold() -> None:
    best = re.findall(r'class="mean best">([^<]*)<', comparison_page(comparison_example()))
    rows = comparison_example().tables[0].rows
    for metric in ("hits@1/20", "mrr"):
        assert f"{max(row.metrics[metric].mean for row in rows):.3f}" in best[:6]


def test_a_difference_is_marked_only_where_it_is_significant() -> None:
    comparison = comparison_example()
    comparison = replace(comparison, tables=comparison.tables[:1])
    html = comparison_page(comparison)
    is_gain = []
    for row in comparison.tables[0].rows:
        for other in row.against:
            differences = other.differences.values()
            is_gain += [difference.mean > 0 for difference in differences if difference.p_value < 0.05]
    assert [claim.corrected_p < 0.05 for claim in comparison.claims] == [True, False, False]
    is_gain += [True, True]  # one of the claims, one point of the curve over human responses
    assert html.count('class="mean gain"') == sum(is_gain) > 0
    assert html.count('class="mean loss"') == len(is_gain) - sum(is_gain) > 0


def test_a_judge_that_trained_the_system_has_an_asterisk() -> None:
    comparison = comparison_example()
    page = _example_page()
    for row in comparison.answers:
        starred = any(judgement.trained_on for judgement in row.judgements)
        assert (f"{row.system}\N{NO-BREAK SPACE}*" in page.text) == starred
    assert "not impartial" in page.text


def test_a_teacher_that_is_called_as_a_system_gets_no_number_and_no_row_of_it() -> None:
    comparison = _renamed(comparison_example(), "dense: separate encoders", "ensemble")
    html = comparison_page(comparison)
    assert '<th scope="row">ensemble</th>' in html
    assert len(comparison_figures(comparison)["systems 1"].charts["mrr"].rows) == 12


def test_times_without_a_measure_are_told_and_not_drawn() -> None:
    comparison = comparison_example()
    assert comparison.latency is not None
    times = ResponseTimes(p50_ms=5.0, p95_ms=5.0, requests=12345)
    latency = replace(comparison.latency, students={"not measured": times}, teachers={})
    html = comparison_page(replace(comparison, latency=latency))
    assert "12,345" in html
    assert comparison_figures(replace(comparison, latency=latency))["latency"].charts == {}


def _with_rows(comparison: Comparison, rows: list[SystemRow]) -> Comparison:
    """A copy with other rows in its first table."""
    first, *others = comparison.tables
    return replace(comparison, tables=[replace(first, rows=rows), *others])


def _renamed(value: Any, old: str, new: str) -> Any:
    """A copy with another name wherever the old one stands, in keys and pairs too."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return replace(value, **{name: _renamed(getattr(value, name), old, new) for name in names})
    if isinstance(value, dict):
        return {_renamed(key, old, new): _renamed(part, old, new) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(part, old, new) for part in value]
    if isinstance(value, str):
        return " × ".join(new if part == old else part for part in value.split(" × "))
    return value


def test_the_lowest_share_of_echoes_is_the_best() -> None:
    comparison = comparison_example()
    table, *others = comparison.tables
    rows = []
    for number, row in enumerate(table.rows):
        share = 0.7 + number / 100
        rows.append(replace(row, metrics={**row.metrics, "echo@1": Interval(share, share, share)}))

    page = comparison_page(replace(comparison, tables=[replace(table, rows=rows), *others]))
    best = re.findall(r'class="mean best">([^<]*)<', page)
    assert "0.700" in best and not {"0.710", "0.720"} & set(best)
