"""Conversational questions: read, checked against the documents, split by conversation."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teachers.corpora import chitchat
from teachers.corpora.config import QuestionsConfig
from teachers.corpora.conversations import CHITCHAT, Message, check_source, clean, source_identity
from teachers.corpora.examples import position_of, split_at
from teachers.corpora.messages import COLUMNS, check_characters
from teachers.corpora.rejections import Rejections
from teachers.corpora.row_files import content_identity, read_files
from teachers.corpora.trec import read_qrels, read_topics
from teachers.dataset import Rows, rows_to, write_rows
from teachers.records import EXAMPLES, QUESTIONS, REJECTED
from teachers.scratch import hash_64
from teachers.texts import said_keys, text_key
from teachers.words import cut_at_word

TOPICS = (".tsv", ".tsv.gz")


def write_questions(
    documents_uri: str, questions_uri: str, rejected_uri: str, config: QuestionsConfig
) -> Counter[str]:
    """Write QUESTIONS and REJECTED; return the counts of questions by outcome.

    A search leaves out the documents that the question's conversation has already said, as it does those
    of its `ignore`; a relevant one stays.

    Questions of one conversation have its `conversation_id`, or else its first turn, in common. A test or
    validation question without a relevant document could not be measured, and is rejected; training needs
    none.

    Judgements of a query that is the id of no row count as `judgements of unknown queries`.

    Raises:
        ValueError: a file does not exist, no row is a question, or a line of the judgements is malformed.
    """
    for source in (*config.conversations, *config.test_conversations):
        check_source(source)

    counts: Counter[str] = Counter()
    documents = _Documents(
        _doc_id_hashes(documents_uri), _doc_ids_by_turn(documents_uri, config), _judged(config.qrels)
    )
    with rows_to(rejected_uri, REJECTED) as writer:
        rejections = Rejections(writer)
        rows = _questions(config, documents, rejections, counts)
        counts["questions"] = write_rows(questions_uri, rows, QUESTIONS)

    if not counts["questions"]:
        unknown = counts["judgements of unknown queries"]
        judgements = f"; {unknown} judgements of questions.qrels are of unknown queries" if unknown else ""
        raise ValueError(
            f"questions.conversations: {', '.join(config.conversations)} has no question: "
            f"{rejections.in_words()}{judgements}"
        )
    return counts


def write_validation_examples(questions_uri: str, documents_uri: str, examples_uri: str) -> int:
    """Write EXAMPLES of the validation questions, with the first relevant document as the response.

    Returns:
        Number of examples.
    """
    doc_ids = {row["positives"][0] for row in Rows(questions_uri, "validation")}
    texts = {row["doc_id"]: row["text"] for row in Rows(documents_uri) if row["doc_id"] in doc_ids}

    rows = (
        {
            "example_id": row["question_id"],
            "conversation_id": row["conversation_id"],
            "split": "validation",
            "context": row["context"],
            "gold_response": texts[row["positives"][0]],
        }
        for row in Rows(questions_uri, "validation")
    )
    return write_rows(examples_uri, rows, EXAMPLES)


def questions_identity(config: QuestionsConfig) -> list[Any]:
    """Return what changes when a file of the questions does, wherever it lies."""
    sources = [*config.conversations, *config.test_conversations]
    identities: list[Any] = [source_identity(source) for source in sources]
    if config.qrels is not None:
        identities.append(content_identity(config.qrels))
    return identities


@dataclass(frozen=True)
class _Documents:
    """The corpus, as questions refer to it."""

    id_hashes: NDArray[np.int64]
    """Sorted"""
    ids_by_turn: dict[str, list[str]]
    """Key of a turn of some question -> the documents with its text"""
    judged: dict[str, dict[str, int]]
    """Question -> document -> grade, by TREC's judgements"""


def _doc_ids_by_turn(documents_uri: str, config: QuestionsConfig) -> dict[str, list[str]]:
    """Return the key of each turn of a question that is a document's text -> the ids of such documents.

    Of the documents, only those with a turn's text are held in memory.
    """
    keys: set[str] = set()
    for _, row, _ in _rows(config):
        with suppress(ValueError):  # the row is rejected when it is read as a question
            keys |= said_keys(clean(row, config.max_characters).messages)

    doc_ids: dict[str, list[str]] = {}
    for document in Rows(documents_uri):
        key = text_key(cut_at_word(document["text"], config.max_characters))
        if key in keys:
            doc_ids.setdefault(key, []).append(document["doc_id"])
    return doc_ids


def _doc_id_hashes(documents_uri: str) -> NDArray[np.int64]:
    """Return the sorted hashes of the documents' ids: 8 bytes each, where an id takes some 100."""
    ids = (hash_64(row["doc_id"].encode()) for row in Rows(documents_uri))
    return np.sort(np.fromiter(ids, np.int64))


def _judged(qrels: str | None) -> dict[str, dict[str, int]]:
    """Return question -> document -> grade, by TREC's judgements; of a repeated one the last counts."""
    judged: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance in read_qrels(qrels) if qrels else ():
        judged.setdefault(query_id, {})[doc_id] = relevance
    return judged


def _questions(
    config: QuestionsConfig,
    documents: _Documents,
    rejections: Rejections,
    counts: Counter[str],
) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    tested: set[str] = set()  # conversations of `test_conversations`
    unknown = dict(documents.judged)  # judgements of queries that no row was yet

    for origin, row, for_test in _rows(config):
        rejections.see(row)
        try:
            question = _question(row, origin, config)
            unknown.pop(question["question_id"], None)
            if for_test:
                question["split"] = "test"
                tested.add(question["conversation_id"])
            elif question["conversation_id"] in tested:
                raise ValueError("its conversation is one of questions.test_conversations")
            if position_of(f"{config.seed}:used:{question['conversation_id']}") >= config.share:
                counts["questions beyond the share"] += 1
                continue
            if question["question_id"] in seen:
                raise ValueError("`id` was there before")

            grades = _grades(question["positives"], documents.judged.get(question["question_id"], {}))
            question["positives"] = _in_corpus(
                list(grades), documents.id_hashes, counts, "positives that are no document"
            )
            question["grades"] = [grades[doc_id] for doc_id in question["positives"]]
            question["ignored"] = _in_corpus(
                question["ignored"], documents.id_hashes, counts, "ignored that are no document"
            )
            _ignore_said_documents(question, documents.ids_by_turn, counts)
            if question["split"] != "train" and not question["positives"]:
                raise ValueError(f"a {question['split']} question without a relevant document")
        except ValueError as error:
            counts["questions rejected"] += 1
            rejections.add(origin, row, str(error))
            continue

        seen.add(question["question_id"])
        counts[f"{question['split']} questions"] += 1
        yield question

    if unknown:
        counts["judgements of unknown queries"] = sum(map(len, unknown.values()))


def _grades(positives: Iterable[str], judged: Mapping[str, int]) -> dict[str, int]:
    """Return relevant document -> grade, the highest first; one that the row names has 1 at least."""
    grades = dict.fromkeys(positives, 1)
    for doc_id, grade in judged.items():
        if grade > 0:
            grades[doc_id] = max(grade, grades.get(doc_id, 1))
    return dict(sorted(grades.items(), key=lambda item: -item[1]))


def _rows(config: QuestionsConfig) -> Iterator[tuple[str, Any, bool]]:
    """Yield (name, row, whether it is of `test_conversations`) of every row."""
    for sources, for_test in ((config.test_conversations, True), (config.conversations, False)):
        for source in sources:
            for origin, row in _rows_of(source):
                yield origin, row, for_test


def _rows_of(source: str) -> Iterable[tuple[str, Any]]:
    """Return (name, row) of one source's rows; a TREC topic is a conversation of one turn."""
    if source == CHITCHAT:
        return chitchat.questions()
    if source.endswith(TOPICS):
        return _topic_rows(source)
    return read_files(source, COLUMNS)


def _topic_rows(source: str) -> Iterator[tuple[str, Any]]:
    for query_id, query in read_topics(source):
        row = {"id": query_id, "messages": [{"role": "user", "content": query}]}
        yield f"{Path(source).name}:{query_id}", row


def _question(row: Any, origin: str, config: QuestionsConfig) -> dict[str, Any]:
    """Return a row of QUESTIONS, whose documents are not checked yet.

    Raises:
        ValueError: the row is not a question; the message says why.
    """
    context = clean(row, config.max_characters).messages
    if not context or context[-1]["role"] != "user":
        raise ValueError("`messages` do not end with a turn of the user")

    question_id = _string(row, "id") or origin
    if any(character.isspace() for character in question_id):
        raise ValueError("`id` has a space in it, which TREC's files cannot have")
    conversation_id = _string(row, "conversation_id") or _first_turn(context)

    return {
        "question_id": question_id,
        "conversation_id": conversation_id,
        "split": split_at(
            position_of(f"{config.seed}:{conversation_id}"),
            config.validation_share,
            0 if config.test_conversations else config.test_share,
        ),
        "context": context,
        "rewrite": _string(row, "query_rewrite"),
        "gold_response": _string(row, "response"),
        "positives": _strings(row, "positives"),
        "ignored": _strings(row, "ignore"),
    }


def _ignore_said_documents(
    question: dict[str, Any], ids_by_turn: dict[str, list[str]], counts: Counter[str]
) -> None:
    """Add to `ignored` the documents that the conversation has already said, but for relevant ones."""
    doc_ids: list[str] = []
    for key in sorted(said_keys(question["context"])):
        doc_ids += ids_by_turn.get(key, [])

    excepted = {*question["positives"], *question["ignored"]}
    new = [doc_id for doc_id in doc_ids if doc_id not in excepted]
    question["ignored"] += new
    counts["questions whose conversation has said a document"] += bool(new)


def _first_turn(context: list[Message]) -> str:
    return f"{hash_64(context[0]['content'].encode()):x}"


def _string(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"`{key}` is not a string")
    check_characters(f"`{key}`", value or "")
    return value.strip() or None if value else None


def _strings(row: dict[str, Any], key: str) -> list[str]:
    values = row.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"`{key}` is not a list of document ids")
    check_characters(f"`{key}`", "".join(values))
    return values


def _in_corpus(
    doc_ids: list[str], doc_id_hashes: NDArray[np.int64], counts: Counter[str], absent: str
) -> list[str]:
    """Return the distinct ids of documents; the other ids count as `absent`."""
    distinct = list(dict.fromkeys(doc_ids))
    hashes = np.array([hash_64(doc_id.encode()) for doc_id in distinct], np.int64)
    places = np.searchsorted(doc_id_hashes, hashes)

    present = []
    for doc_id, value, place in zip(distinct, hashes, places, strict=True):
        if place < len(doc_id_hashes) and doc_id_hashes[place] == value:
            present.append(doc_id)
    counts[absent] += len(distinct) - len(present)
    return present
