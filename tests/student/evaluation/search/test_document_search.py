"""Document search and its measures, against results worked by hand."""

from math import log2, nan
from pathlib import Path

import pytest

from student.evaluation.metrics import search_metrics
from student.evaluation.search.document_search import (
    Questions,
    SearchResult,
    bm25_runs,
    held_out_questions,
    response_questions,
)
from student.evaluation.search.measures import search_measures
from teachers.dataset import write_rows
from teachers.records import DOCUMENTS, QUESTIONS
from teachers.words import cut_at_word


def questions_of(qrels: dict[str, dict[str, int]], ignored: dict[str, set[str]] | None = None) -> Questions:
    """Questions of one conversation each, without queries."""
    no_documents: dict[str, set[str]] = {question_id: set() for question_id in qrels}
    conversation_ids = {question_id: f"c-{question_id}" for question_id in qrels}
    return Questions(conversation_ids, qrels, ignored or no_documents, {}, {})


def test_earlier_responses_of_a_conversation_are_ignored() -> None:
    first, second = "Owls  eat voles, " + "mice and rats, " * 3, "At night."
    turn = {"role": "user", "content": "and when?"}
    rows = [
        {"question_id": "q1", "context": [turn], "gold_response": first},
        {
            "question_id": "q2",
            "context": [turn, {"role": "assistant", "content": "Owls eat voles, mice"}, turn],
            "gold_response": second,
        },
        {"question_id": "q3", "context": [turn], "gold_response": None},
    ]
    responses = [{"doc_id": "q1", "text": first}, {"doc_id": "q2", "text": second}]
    questions = Questions(dict.fromkeys(("q1", "q2", "q3"), "c"), {}, {}, {}, {})

    answered = response_questions(
        questions, rows, responses, lambda text: cut_at_word(" ".join(text.split()), 22)
    )

    assert answered.qrels == {"q1": {"q1": 1}, "q2": {"q2": 1}}
    assert answered.ignored == {"q1": set(), "q2": {"q1"}}


def test_bm25_ranks_documents_with_a_word_of_the_query_except_ignored_ones(tmp_path: Path) -> None:
    texts = {"owls": "owls hunt voles", "bats": "bats hunt moths moths", "moles": "moles dig"}
    rows = [{"doc_id": doc_id, "text": text} for doc_id, text in texts.items()]
    write_rows(str(tmp_path / "documents"), rows, DOCUMENTS)
    questions = questions_of({"q1": {"owls": 1}, "q2": {"moles": 1}}, {"q1": set(), "q2": {"bats"}})

    runs = bm25_runs(
        str(tmp_path / "documents"),
        questions,
        {"last turn": {"q1": "voles hunt", "q2": "moths dig"}, "human rewrite": {"q2": "the"}},
    )

    assert {question_id: list(scores) for question_id, scores in runs["last turn"].items()} == {
        "q1": ["owls", "bats"],  # both words, then one
        "q2": ["moles"],
    }
    assert runs["human rewrite"] == {"q2": {}}  # a stop word only


def test_measures_compare_a_system_with_its_baselines() -> None:
    questions = questions_of({"q1": {"a": 1}, "q2": {"a": 1}})
    results = {
        "first": SearchResult({"q1": {"a": 2.0, "b": 1.0}, "q2": {"a": 2.0, "b": 1.0}}),  # ranks 1, 1
        "second": SearchResult({"q1": {"a": 1.0, "b": 2.0}, "q2": {"a": 2.0, "b": 1.0}}, {"flops": 3.0}),
    }
    measures = search_measures(questions, results, {"first": [], "second": ["first"]})

    assert measures["first"].metrics["mrr"].mean == 1.0
    assert measures["second"].metrics["mrr"].mean == pytest.approx((1 / 2 + 1) / 2)
    assert measures["first"].against == {}
    assert measures["second"].against["first"].mean == pytest.approx(-1 / 4)
    assert measures["second"].sparsity == {"flops": 3.0}


def test_grades_reach_the_measures(tmp_path: Path) -> None:
    row = {
        "question_id": "q1",
        "conversation_id": "c",
        "split": "test",
        "context": [{"role": "user", "content": "and when?"}],
        "rewrite": None,
        "gold_response": None,
        "positives": ["best", "good"],
        "grades": [3, 1],
        "ignored": [],
    }
    write_rows(str(tmp_path / "questions"), [row, {**row, "question_id": "q2", "grades": None}], QUESTIONS)
    questions = held_out_questions(str(tmp_path / "questions"), "test", {})
    assert questions.qrels == {"q1": {"best": 3, "good": 1}, "q2": {"best": 1, "good": 1}}

    run = {question_id: {"good": 2.0, "best": 1.0} for question_id in questions.qrels}
    ndcg = search_metrics(questions.qrels, run)["ndcg@3"]
    # (1 + 3 / log2(3)) / (3 + 1 / log2(3)); without grades the order of two relevant documents is the same.
    assert ndcg == pytest.approx([(1 + 3 / log2(3)) / (3 + 1 / log2(3)), 1])


def test_of_tied_documents_the_one_of_the_lower_grade_ranks_first() -> None:
    metrics = search_metrics({"q": {"a": 3, "b": 1}}, {"q": {"a": 1.0, "b": 1.0, "c": 1.0}})
    gain, ideal = 1 / log2(3) + 3 / log2(4), 3 + 1 / log2(3)
    assert metrics["ndcg@3"] == pytest.approx([gain / ideal])


def test_a_system_whose_scores_are_nan_is_named_and_has_no_measures() -> None:
    questions = questions_of({"q1": {"a": 1}})
    results = {"broken": SearchResult({"q1": {"a": nan, "b": 1.0}})}
    with pytest.raises(ValueError, match=r"^broken: query q1: expected scores to rank by, got NaN$"):
        search_measures(questions, results, {"broken": []})
