"""From a conversation to a request, and from a teacher's answer to a query."""

from pathlib import Path
from typing import Any

import pytest

from teachers.dataset import read_rows, write_rows
from teachers.engines.protocol import Generation
from teachers.generation.config import RewritingConfig
from teachers.generation.rewriting import (
    Requests,
    RewritingPrompt,
    query_of,
    read_prompt,
    write_human_rewrites,
    write_rewrite_targets,
    write_rewrites,
)
from teachers.records import QUESTIONS
from teachers.scoring.config import TargetsConfig

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


EXAMPLE = [{"role": "user", "content": "{question}, in short?"}, {"role": "assistant", "content": "Yes."}]


def test_a_request_fills_the_prompts_placeholders(questions: str) -> None:
    places = "Of:\n{conversation}\nafter:\n{earlier}\nwrite: {question}"
    prompt = RewritingPrompt("You rewrite.", [*EXAMPLE, {"role": "user", "content": places}])
    requests = Requests(questions, prompt)
    for _ in range(2):  # it can be iterated again
        first, *_ = requests
        *examples, turn = first["context"]
        assert examples == EXAMPLE  # with nothing put in their places
        assert turn["content"] == (
            "Of:\nUser: Do owls hunt?\nAssistant: At night.\nUser: What do they eat?\n"
            "after:\nUser: Do owls hunt?\nAssistant: At night.\nwrite: What do they eat?"
        )


@pytest.mark.parametrize("name", ["zero_shot", "few_shot", "answer"])
def test_the_shipped_prompts_are_valid(name: str) -> None:
    prompt = read_prompt(RewritingConfig(prompt=f"configs/rewriting/{name}.yaml"))
    assert prompt.system_prompt and "{question}" in prompt.messages[-1]["content"]
    assert (len(prompt.messages) > 1) == (name != "zero_shot")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file"),
        ("Rewrite it.", "expected a list of messages"),
        ("[{role: robot, content: hi}]", "expected a list of messages"),
        ("[", "expected a list of messages"),
        ("[{role: user, content: Rewrite it.}]", "expected {conversation} or {question}"),
        (
            "[{role: user, content: hi}, {role: assistant, content: hi}]",
            "expected messages of user and assistant",
        ),
        (
            "[{role: user, content: hi}, {role: system, content: hi}]",
            "expected messages of user and assistant",
        ),
        ("[{role: system, content: hi}]", "expected messages of user and assistant"),
    ],
)
def test_an_invalid_prompt_is_refused_by_name(tmp_path: Path, content: str | None, line: str) -> None:
    file = tmp_path / "prompt.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=r"^rewriting\.prompt: .*prompt.yaml") as error:
        read_prompt(RewritingConfig(prompt=str(file)))
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("response", "query"),
    [
        ("What do owls eat?", "What do owls eat?"),
        ("\n The last question, rewritten: What do owls eat?\nThey eat voles.", "What do owls eat?"),
        ('Rewritten question: "What do owls eat?"', "What do owls eat?"),
        ("“What do owls eat?”", "What do owls eat?"),
        ("What does the query: select mean?", "What does the query: select mean?"),
        (" \n", ""),
    ],
)
def test_a_query_is_the_first_line_without_label_and_quotes(response: str, query: str) -> None:
    assert query_of(response) == query


def test_an_empty_rewrite_falls_back_to_the_original_question(questions: str, tmp_path: Path) -> None:
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


def test_questions_without_a_human_rewrite_are_left_out(questions: str, tmp_path: Path) -> None:
    assert write_human_rewrites(questions, str(tmp_path / "human")) == {"rewritten": 1}
    assert read_rows(str(tmp_path / "human")) == [{"question_id": "q0", "query": "What do owls eat?"}]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({"human": 3.0}, {"q0": {"human": 0.75, "chat": 0.25}, "q1": {"chat": 1.0}, "q2": {"chat": 1.0}}),
        ({"human": 0.0}, {"q0": {"chat": 1.0}, "q1": {"chat": 1.0}, "q2": {"chat": 1.0}}),
        ({"chat": 0.0}, {"q0": {"human": 1.0}}),
    ],
)
def test_rewrite_targets_have_the_teachers_weights_as_probabilities(
    questions: str, tmp_path: Path, weights: dict[str, float], shares: dict[str, dict[str, float]]
) -> None:
    write_human_rewrites(questions, str(tmp_path / "human"))  # of q0 alone
    samples = [(f"q{number}", [Generation(f"Query {number}", truncated=False)]) for number in range(3)]
    write_rewrites(questions, samples, str(tmp_path / "chat"))
    texts = {"human": "What do owls eat?"}
    rewrites = {name: str(tmp_path / name) for name in ("human", "chat")}
    config = TargetsConfig(weights=weights)
    counts = write_rewrite_targets(questions, rewrites, str(tmp_path / "targets"), config)

    assert (counts["with targets"], counts["without targets"]) == (len(shares), 3 - len(shares))

    rows = {row["example_id"]: row for row in read_rows(str(tmp_path / "targets"))}
    assert list(rows) == list(shares)

    for question_id, row in rows.items():
        teachers = [candidate["teacher"] for candidate in row["candidates"]]
        assert dict(zip(teachers, row["target_probs"], strict=True)) == shares[question_id]
        for candidate in row["candidates"]:
            assert candidate["text"] == texts.get(candidate["teacher"], f"Query {question_id[1:]}")


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ({"human": 0}, r"targets\.weights = .*: expected a weight above 0"),
        ("validation", r"targets\.weights: expected a weight for each"),
    ],
)
def test_all_zero_weights_are_refused(questions: str, tmp_path: Path, weights: Any, line: str) -> None:
    write_human_rewrites(questions, str(tmp_path / "human"))
    rewrites = {"human": str(tmp_path / "human")}
    with pytest.raises(ValueError, match=line):
        write_rewrite_targets(questions, rewrites, str(tmp_path / "targets"), TargetsConfig(weights=weights))
