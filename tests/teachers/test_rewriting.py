"""From a conversation to a request, and from a teacher's answer to a query."""

from pathlib import Path
from typing import Any

import pytest

from teachers.config import RewritingConfig
from teachers.records import QUESTIONS, read_rows, write_rows
from teachers.rewriting import (
    Requests,
    query_of,
    read_prompt,
    write_human_rewrites,
    write_rewrites,
)
from teachers.teacher import Generation

CONTEXT = [
    {"role": "user", "content": "Do owls hunt?"},
    {"role": "assistant", "content": "At night."},
    {"role": "user", "content": "What do they eat?"},
]


@pytest.fixture
def questions(tmp_path: Path) -> str:
    rows: list[dict[str, Any]] = [
        {
            "question_id": f"q{number}",
            "conversation_id": "c",
            "split": "train",
            "context": CONTEXT,
            "rewrite": rewrite,
            "positives": [],
            "ignored": [],
        }
        for number, rewrite in enumerate(("What do owls eat?", None, None))
    ]
    write_rows(str(tmp_path / "questions"), rows, QUESTIONS)
    return str(tmp_path / "questions")


def test_a_request_has_the_conversation_in_the_prompts_place(questions: str) -> None:
    requests = Requests(questions, "Rewrite:\n{conversation}\nNow:")
    for _ in range(2):  # it is iterated anew
        first, *_ = requests
        [turn] = first["context"]
        assert turn["content"] == (
            "Rewrite:\nUser: Do owls hunt?\nAssistant: At night.\nUser: What do they eat?\nNow:"
        )


@pytest.mark.parametrize("name", ["zero_shot", "few_shot", "answer"])
def test_the_shipped_prompts_can_be_used(name: str) -> None:
    assert "{conversation}" in read_prompt(RewritingConfig(prompt=f"configs/rewriting/{name}.txt"))


def test_a_prompt_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    with pytest.raises(ValueError, match=r"^rewriting\.prompt: .*prompt.txt: No such file"):
        read_prompt(RewritingConfig(prompt=str(file)))
    file.write_text("Rewrite it.")
    with pytest.raises(ValueError, match=r"prompt.txt has no {conversation}$"):
        read_prompt(RewritingConfig(prompt=str(file)))


@pytest.mark.parametrize(
    ("said", "query"),
    [
        ("What do owls eat?", "What do owls eat?"),
        ("\n The last question, rewritten: What do owls eat?\nThey eat voles.", "What do owls eat?"),
        ('Rewritten question: "What do owls eat?"', "What do owls eat?"),
        ("“What do owls eat?”", "What do owls eat?"),
        ("What does the query: select mean?", "What does the query: select mean?"),
        (" \n", ""),
    ],
)
def test_a_query_is_the_first_line_without_label_and_quotes(said: str, query: str) -> None:
    assert query_of(said) == query


def test_where_a_teacher_says_nothing_the_question_stays_as_it_was(questions: str, tmp_path: Path) -> None:
    samples = [
        ("q0", [Generation("What do owls eat?", truncated=False)]),
        ("q1", [Generation("", truncated=False, error="broke")]),
        ("q2", [Generation("What do owls", truncated=True)]),
    ]
    counts = write_rewrites(questions, samples, str(tmp_path / "rewrites"))
    assert [row["query"] for row in read_rows(str(tmp_path / "rewrites"))] == [
        "What do owls eat?",
        "What do they eat?",
        "What do owls",
    ]
    assert counts == {"rewritten": 2, "left as they were": 1, "cut": 1}


def test_people_rewrote_some(questions: str, tmp_path: Path) -> None:
    assert write_human_rewrites(questions, str(tmp_path / "human")) == {"rewritten": 1}
    assert read_rows(str(tmp_path / "human")) == [{"question_id": "q0", "query": "What do owls eat?"}]
