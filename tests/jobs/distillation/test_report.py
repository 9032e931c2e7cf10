"""The report page of a distillation, on made-up metrics."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from jobs.distillation.report import distillation_page, read_conversations
from jobs.execution.run_directory import RunDirectory
from jobs.reports.comparison import Comparison, filter_outcomes
from serve.conversations import AnsweredTurn, write_conversations
from tests.jobs.reports.comparison_example import comparison_example

MARKUP = "<script>alert('π & \"ρ\"')</script>"
SECTIONS = ("conversations", "systems", "curves", "teachers", "filters", "reading", "seconds")


def page_of(conversations: list[dict[str, Any]], reading: bool = True) -> str:
    example = comparison_example()
    ranked = {"hits@1/20": 0.5, "mrr": 0.25, "own_turn@1": 0.3}
    metrics = {
        "systems": {"bm25": ranked, "untrained student": ranked, "student": {**ranked, "mrr": 0.375}},
        "coverage": [
            {"coverage": 1.0, "max_cross_entropy": 0.1, "hits@1/20": 0.5},
            {"coverage": 0.7, "max_cross_entropy": 0.3125, "hits@1/20": 0.625},
        ],
        "teachers": {**example.teachers.measures, "kendall_tau": example.teachers.kendall_tau},
        "conversations": {"small talk": {"verbatim_repeats": 0.0, "no_answer": 0.125, "turns": 50.0}},
    }
    distillation = Comparison(
        title="Distillation: tiny",
        **{key: getattr(example, key) for key in ("date", "machine", "command", "git_commit", "versions")},
        seeds=[0],
        notes=[],
        tables=[],
        learning_curves={"student": next(iter(example.learning_curves.values()))},
        teachers=example.teachers,
        filters=filter_outcomes({"chat": {"kept": 3, "kept shortened": 1}}, {"human": {"kept": 7, "URL": 1}}),
        reading=example.reading if reading else [],
    )
    return distillation_page(distillation, metrics, conversations, {"examples": 12.0, "train": 100.0})


def conversation(name: str, *answers: str | None) -> dict[str, Any]:
    turns = [
        {"user": f"{name} {number}", "answer": text, "score": 0.5} for number, text in enumerate(answers)
    ]
    return {"set": name, "turns": turns}


def test_the_page_shows_the_first_conversation_of_each_set_and_fits(browser: Browser, tmp_path: Path) -> None:
    conversations = [
        conversation("small talk", "Great!", None),
        conversation("small talk", "never shown"),
        conversation("held-out users", MARKUP),
    ]
    (tmp_path / "index.html").write_text(page_of(conversations))
    for width in (390, 1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        errors: list[str] = []
        page.on("console", lambda line: errors.append(line.text))  # noqa: B023
        page.goto((tmp_path / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for section in SECTIONS:
            expect(page.locator(f"section#{section}")).to_be_visible()

        dialogues = page.locator("#conversations .context")
        expect(dialogues).to_have_count(2)
        expect(dialogues.first.locator(".turn")).to_contain_text(
            ["small talk 0", "Great!", "small talk 1", "no answer"]
        )
        expect(dialogues.last).to_contain_text(MARKUP)
        expect(page.locator("body")).not_to_contain_text("never shown")
        assert errors == []
        page.close()


@pytest.mark.parametrize(
    "cells",
    [
        ["70%", "0.312", "0.625"],  # coverage
        ["response set, human", "7", "1"],  # filters, with a dash for `kept shortened` between
        ["small talk", "0.000", "0.125", "50"],
        ["together", "112"],
    ],
)
def test_a_row_of_each_table_is_on_the_page(cells: list[str]) -> None:
    html = page_of([conversation("small talk", "Great!")])
    rows = [row for row in html.split("<tr>") if f">{cells[0]}<" in row]
    assert any(all(cell in row for cell in cells) for row in rows)


def test_a_line_separator_in_a_turn_splits_no_conversation(tmp_path: Path) -> None:
    turn = AnsweredTurn("hi\u2028there", "hello\u0085you", 0.5)
    write_conversations(str(tmp_path / "report" / "conversations.jsonl"), {"small talk": [[turn]]})
    assert read_conversations(RunDirectory(str(tmp_path))) == [{"set": "small talk", "turns": [vars(turn)]}]


def test_markup_of_a_response_stays_text() -> None:
    page = page_of([conversation("small talk", MARKUP)])
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_without_conversations_or_examples_their_sections_are_left_out() -> None:
    page = page_of([], reading=False)
    assert 'id="conversations"' not in page and "#conversations" not in page
    assert 'id="reading"' not in page and 'id="systems"' in page
