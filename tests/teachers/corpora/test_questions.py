"""A corpus and conversational questions about it, some rows of which are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from teachers.corpora.config import DocumentsConfig, QuestionsConfig
from teachers.corpora.documents import write_documents
from teachers.corpora.questions import write_questions
from teachers.corpora.trec import Judgement, write_qrels, write_topics
from teachers.dataset import read_rows

CORPUS: list[Any] = [
    {"doc_id": "d1", "title": "Owls", "text": "Owls hunt\nat night."},
    {"doc_id": "d2", "text": "Larks sing in the morning."},
    {"doc_id": "d1", "text": "Again."},
    {"doc_id": "d 3", "text": "A space."},
    {"doc_id": "d4", "text": " "},
    {"text": "No id."},
    "{not json",
]


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def question(question_id: str, *turns: str, **others: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": turn} for number, turn in enumerate(turns)]
    return {"id": question_id, "messages": messages, **others}


@pytest.fixture
def documents(tmp_path: Path) -> str:
    config = DocumentsConfig(corpus=lines(tmp_path / "corpus.jsonl", CORPUS), max_characters=20)
    counts = write_documents(str(tmp_path / "documents"), str(tmp_path / "rejected"), config)
    assert (counts["documents"], counts["documents rejected"], counts["documents cut"]) == (2, 5, 2)
    return str(tmp_path / "documents")


def test_a_document_is_kept_once_with_its_title_and_the_others_are_rejected(
    documents: str, tmp_path: Path
) -> None:
    assert read_rows(documents) == [
        {"doc_id": "d1", "text": "Owls Owls hunt at"},
        {"doc_id": "d2", "text": "Larks sing in the"},
    ]
    reasons = {row["origin"]: row["reason"] for row in read_rows(str(tmp_path / "rejected"))}
    assert reasons["corpus.jsonl:3"] == "`doc_id` was there before"
    assert reasons["corpus.jsonl:4"].startswith("`doc_id` has a space in it")
    assert reasons["corpus.jsonl:5"] == "`text` is not a string with text"
    assert reasons["corpus.jsonl:6"] == "`doc_id` is not a string with text"
    assert reasons["corpus.jsonl:7"].startswith("not JSON: ")


def test_documents_that_the_conversation_has_said_are_ignored_but_for_relevant_ones(
    documents: str, tmp_path: Path
) -> None:
    turns = ("Owls?", "Owls, owls hunt at!", "Larks?", "Larks sing in the…", "More?")
    rows = [
        question("q1", *turns, positives=["d2"]),
        question("q2", *turns[:3], positives=["d2"], ignore=["d1"]),
        question("q3", "Owls?", positives=["d1"]),
    ]
    config = QuestionsConfig(conversations=lines(tmp_path / "questions.jsonl", rows), test_share=1)
    counts = write_questions(documents, str(tmp_path / "questions"), str(tmp_path / "rejected"), config)
    assert [row["ignored"] for row in read_rows(str(tmp_path / "questions"))] == [["d1"], ["d1"], []]
    assert counts["questions whose conversation has said a document"] == 1


def test_questions_are_checked_against_the_documents_and_judgements_join_them(
    documents: str, tmp_path: Path
) -> None:
    rows = [
        question(
            "q1",
            "Owls?",
            "Birds.",
            "And at night?",
            query_rewrite=" What do owls do at night? ",
            ignore=["d2"],
        ),
        question("q2", "Larks?", positives=["d2", "d2", "gone"]),
        question("q3", "Unjudged?"),
        question("q2", "Again?", positives=["d2"]),
        question("q4", "Owls?", "No question."),
        question("q5", "Larks?", positives="d2"),
        question("q6", "Judged with 0?"),
    ]
    qrels = str(tmp_path / "qrels.txt")
    write_qrels(qrels, [Judgement("q1", "d1", 2), Judgement("q6", "d1", 0), Judgement("q1", "lost", 1)])
    config = QuestionsConfig(
        conversations=lines(tmp_path / "questions.jsonl", rows), qrels=qrels, test_share=1, validation_share=0
    )
    counts = write_questions(documents, str(tmp_path / "questions"), str(tmp_path / "rejected"), config)
    first, second = read_rows(str(tmp_path / "questions"))
    assert (first["question_id"], first["positives"], first["ignored"]) == ("q1", ["d1"], ["d2"])
    assert first["rewrite"] == "What do owls do at night?" and second["rewrite"] is None
    assert (first["grades"], second["grades"]) == ([2], [1])
    assert first["context"][-1] == {"role": "user", "content": "And at night?"}
    assert (second["question_id"], second["positives"], second["split"]) == ("q2", ["d2"], "test")
    assert (counts["test questions"], counts["positives that are no document"]) == (2, 2)
    reasons = {row["origin"]: row["reason"] for row in read_rows(str(tmp_path / "rejected"))}
    assert reasons == {
        "questions.jsonl:3": "a test question without a relevant document",
        "questions.jsonl:4": "`id` was there before",
        "questions.jsonl:5": "`messages` do not end with a turn of the user",
        "questions.jsonl:6": "`positives` is not a list of document ids",
        "questions.jsonl:7": "a test question without a relevant document",
    }


def test_grades_are_kept_the_highest_first_and_judgements_of_unknown_queries_counted(
    documents: str, tmp_path: Path
) -> None:
    rows = [question("q1", "Owls?", positives=["d1"]), question("q2", "Larks?", positives=["d1"])]
    qrels = str(tmp_path / "qrels.txt")
    judgements = [Judgement("q1", "d2", 3), Judgement("q1", "d1", 0), Judgement("q2", "d1", 2)]
    write_qrels(qrels, [*judgements, Judgement("q9", "d1", 1), Judgement("q9", "d2", 0)])
    config = QuestionsConfig(
        conversations=lines(tmp_path / "questions.jsonl", rows), qrels=qrels, test_share=1, validation_share=0
    )
    counts = write_questions(documents, str(tmp_path / "questions"), str(tmp_path / "rejected"), config)
    grades = [
        dict(zip(row["positives"], row["grades"], strict=True))
        for row in read_rows(str(tmp_path / "questions"))
    ]
    # What a row names as relevant stays so, whatever the judgements say.
    assert grades == [{"d2": 3, "d1": 1}, {"d1": 2}]
    assert list(grades[0]) == ["d2", "d1"]
    assert counts["judgements of unknown queries"] == 2


def test_a_string_with_half_a_character_is_the_fault_of_its_row(documents: str, tmp_path: Path) -> None:
    rows = [
        question("q1", "Owls?", positives=["d1"], query_rewrite="owls \ud83d"),
        question("q2", "Larks?", positives=["d2", "\ud83d"]),
        question("q3", "Larks?", positives=["d2"]),
    ]
    config = QuestionsConfig(conversations=lines(tmp_path / "questions.jsonl", rows), test_share=1)
    write_questions(documents, str(tmp_path / "questions"), str(tmp_path / "rejected"), config)
    assert [row["question_id"] for row in read_rows(str(tmp_path / "questions"))] == ["q3"]
    reasons = [row["reason"] for row in read_rows(str(tmp_path / "rejected"))]
    assert [reason.rpartition(" ")[2] for reason in reasons] == ["`query_rewrite`", "`positives`"]


def test_no_conversation_is_in_two_splits(documents: str, tmp_path: Path) -> None:
    rows = [
        question(
            f"q{number}-{turns}", *[f"Talk {number}", "Yes?", "So it is?"][: 2 * turns - 1], positives=["d1"]
        )
        for number in range(60)
        for turns in (1, 2)
    ]
    config = QuestionsConfig(conversations=lines(tmp_path / "questions.jsonl", rows), test_share=0.3)
    write_questions(documents, str(tmp_path / "questions"), str(tmp_path / "rejected"), config)
    questions = read_rows(str(tmp_path / "questions"))
    splits = {(row["conversation_id"], row["split"]) for row in questions}
    assert len(questions) == 120 and len(splits) == 60
    assert {split for _, split in splits} == {"train", "validation", "test"}


def test_conversations_of_another_file_are_the_test_set_and_in_no_training_set(
    documents: str, tmp_path: Path
) -> None:
    here = [question(f"q{number}", f"Talk {number}", positives=["d1"]) for number in range(20)]
    there = [question("t1", "Talk 7", "Yes?", "Is it?", positives=["d1"]), question("t2", "Other")]
    config = QuestionsConfig(
        conversations=lines(tmp_path / "here.jsonl", here),
        test_conversations=lines(tmp_path / "there.jsonl", there),
        test_share=0.5,
        validation_share=0,
    )
    counts = write_questions(documents, str(tmp_path / "questions"), str(tmp_path / "rejected"), config)
    split_of_question = {row["question_id"]: row["split"] for row in read_rows(str(tmp_path / "questions"))}
    assert split_of_question == {"t1": "test"} | {
        f"q{number}": "train" for number in range(20) if number != 7
    }
    reasons = {row["origin"]: row["reason"] for row in read_rows(str(tmp_path / "rejected"))}
    assert reasons == {
        "there.jsonl:2": "a test question without a relevant document",
        "here.jsonl:8": "its conversation is one of questions.test_conversations",
    }
    assert (counts["test questions"], counts["train questions"]) == (1, 19)


def test_topics_are_questions_that_trecs_judgements_answer(documents: str, tmp_path: Path) -> None:
    topics, qrels = str(tmp_path / "topics.tsv"), str(tmp_path / "qrels.txt")
    write_topics(topics, [("31_1", "What do owls eat?"), ("31_2", "Unjudged?")])
    write_qrels(qrels, [Judgement("31_1", "d2", 1)])
    config = QuestionsConfig(conversations=topics, qrels=qrels, test_share=1, validation_share=0)
    write_questions(documents, str(tmp_path / "questions"), str(tmp_path / "rejected"), config)
    [row] = read_rows(str(tmp_path / "questions"))
    assert (row["question_id"], row["positives"]) == ("31_1", ["d2"])
    assert row["context"] == [{"role": "user", "content": "What do owls eat?"}]
    [rejected] = read_rows(str(tmp_path / "rejected"))
    assert rejected["origin"] == "topics.tsv:31_2"


def test_a_corpus_without_a_document_is_an_error_of_one_line(tmp_path: Path) -> None:
    config = DocumentsConfig(corpus=lines(tmp_path / "corpus.jsonl", CORPUS[3:]))
    with pytest.raises(
        ValueError, match=r"^documents\.corpus: .*/corpus\.jsonl has no document: 2 rows of a corpus"
    ):
        write_documents(str(tmp_path / "documents"), str(tmp_path / "rejected"), config)
