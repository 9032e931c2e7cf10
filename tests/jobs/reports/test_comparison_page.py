"""The report page of a comparison."""

import re
from copy import deepcopy
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest

from jobs.reports.charts import ladder_chart, ratings_chart
from jobs.reports.comparison_page import comparison_page
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
    for row in comparison_example()["tables"][0]["rows"]:
        assert page.text.count(row["system"]) >= 3 + 1 + 20  # tables, answers, and contexts to read


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


def test_plotly_is_there_once_and_before_the_charts() -> None:
    html = comparison_page(comparison_example())
    assert html.count("plotly.js v") == 1
    assert html.index("plotly.js v") < html.index("Plotly.newPlot(")


@pytest.mark.parametrize("place", ["system", "turn", "gold", "answer", "title", "teacher", "reason"])
def test_text_is_shown_and_not_run(place: str) -> None:
    comparison = comparison_example()
    first = comparison["reading"][0]
    if place == "system":
        comparison = _renamed(comparison, "BM25", _MARKUP)
    elif place == "turn":
        first["context"][0]["content"] = _MARKUP
    elif place == "gold":
        first["gold"] = _MARKUP
    elif place == "answer":
        first["answers"][0]["text"] = _MARKUP
    elif place == "title":
        comparison["title"] = _MARKUP
    elif place == "teacher":
        comparison = _renamed(comparison, "gemma-3-270m", _MARKUP)
    else:
        comparison["filters"]["gemma-3-270m"][_MARKUP] = 3
    page = _Page(comparison_page(comparison))
    assert _MARKUP in page.text
    assert "<script>alert" not in page.scripts
    scripts = [tag for tag, _ in page.tags].count("script")
    assert scripts == [tag for tag, _ in _example_page().tags].count("script")


@pytest.mark.parametrize(
    ("missing", "sections"),
    [
        (["latency"], {"latency"}),
        (["learning_curves"], {"curves"}),
        (["filters"], {"filters"}),
        (["answers"], {"answers"}),
        (["sparsity"], {"sparsity"}),
        (["reading"], {"reading"}),
        (["teachers"], {"teachers", "ratings"}),
        (["latency", "learning_curves", "filters", "answers", "sparsity", "reading", "teachers"], None),
    ],
)
def test_a_part_without_content_is_left_out(missing: list[str], sections: set[str] | None) -> None:
    comparison = comparison_example()
    for part in missing:
        del comparison[part]
    page = _Page(comparison_page(comparison))
    left = {"ladder"} if sections is None else set(_example_page().sections) - sections
    assert set(page.sections) == left
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} == {
        f"#{name}" for name in left
    }


def test_empty_parts_are_as_good_as_missing_ones() -> None:
    comparison = comparison_example()
    comparison |= {"answers": [], "sparsity": {}, "learning_curves": {}, "filters": {}, "reading": []}
    comparison |= {"latency": None, "teachers": {"measures": {}, "kendall_tau": {}, "ratings": []}}
    assert _Page(comparison_page(comparison)).sections == ["ladder"]


def test_answers_that_nobody_judged_and_scorers_that_nobody_rated_need_no_charts() -> None:
    comparison = comparison_example()
    for row in comparison["answers"]:
        row["judgements"] = []
    comparison["teachers"]["ratings"] = []
    page = _Page(comparison_page(comparison))
    assert "answers" in page.sections and "ratings" not in page.sections
    assert "Judged by" not in page.text


def test_a_metric_or_a_correlation_that_some_have_is_a_dash_for_the_others() -> None:
    comparison = comparison_example()
    del comparison["tables"][0]["rows"][1]["metrics"]["mrr"]
    for rating in comparison["teachers"]["ratings"][1:]:
        del rating["spearman_within"], rating["kendall_within"]
    others = len(comparison["teachers"]["ratings"]) - 1
    ensemble_spread = 1
    dashes = comparison_page(comparison).count('class="none"')
    assert dashes == ensemble_spread + 1 + 2 * others
    assert len(ladder_chart(comparison["tables"][0], "mrr").data) == 11
    assert len(ratings_chart(comparison, "spearman_within").data) == 1


def test_an_interval_that_goes_below_zero_is_read_without_guessing() -> None:
    comparison = comparison_example()
    comparison["teachers"]["ratings"][0]["kendall"] = {"mean": -0.015, "low": -0.05, "high": 0.02}
    text = _Page(comparison_page(comparison)).text
    assert "−0.015" in text and "−0.050 to 0.020" in text


def test_the_best_of_each_column_is_bold() -> None:
    best = re.findall(r'class="mean best">([^<]*)<', comparison_page(comparison_example()))
    rows = comparison_example()["tables"][0]["rows"]
    for metric in ("hits@1/20", "mrr"):
        assert f"{max(row['metrics'][metric]['mean'] for row in rows):.3f}" in best[:6]


def test_a_difference_is_marked_only_where_it_is_significant() -> None:
    comparison = comparison_example()
    comparison["tables"] = comparison["tables"][:1]
    html = comparison_page(comparison)
    values = [
        difference
        for row in comparison["tables"][0]["rows"]
        for other in row["against"]
        for difference in other["differences"].values()
    ]
    significant = [value["mean"] > 0 for value in values if value["p_value"] < 0.05]
    assert html.count('class="mean gain"') == sum(significant) > 0
    assert html.count('class="mean loss"') == len(significant) - sum(significant) > 0


def test_a_judge_that_trained_the_system_has_an_asterisk() -> None:
    comparison = comparison_example()
    page = _example_page()
    for row in comparison["answers"]:
        starred = any(judgement["trained_on"] for judgement in row["judgements"])
        assert (f"{row['system']}\N{NO-BREAK SPACE}*" in page.text) == starred
    assert "no impartial" in page.text


def test_a_teacher_that_is_called_as_a_system_gets_no_number_and_no_row_of_it() -> None:
    comparison = _renamed(comparison_example(), "dense: separate encoders", "ensemble")
    html = comparison_page(comparison)
    assert '<th scope="row">ensemble</th>' in html
    assert len(ladder_chart(comparison["tables"][0], "mrr").data) == 12


def test_times_without_a_measure_are_told_and_not_drawn() -> None:
    comparison = comparison_example()
    times = {"p50_ms": 5.0, "p95_ms": 8.0, "requests": 12345}
    comparison["latency"] |= {"students": {"nobody knows": times}, "teachers": {}}
    html = comparison_page(comparison)
    assert "12,345" in html
    assert 'id="latency-1"' not in html


def _renamed(comparison: Any, old: str, new: str) -> Any:
    """A copy with another name wherever the old one stands, in keys and pairs too."""
    if isinstance(comparison, dict):
        return {_renamed(key, old, new): _renamed(value, old, new) for key, value in comparison.items()}
    if isinstance(comparison, list):
        return [_renamed(value, old, new) for value in comparison]
    if isinstance(comparison, str):
        return " × ".join(new if part == old else part for part in comparison.split(" × "))
    return deepcopy(comparison)
