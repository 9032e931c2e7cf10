"""The synthesised conversations as files: for `datasets`, for jobs/distill.py and for jobs/search.py.

conversations   `messages`, plan, axes, evidence
questions       conversations up to a question that a passage answers, for search
corpus          the passages, for search

Each is there as .parquet and as .jsonl.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

import pyarrow as pa
import pyarrow.parquet as pq

from teachers.corpora.passages import passages
from teachers.dataset import Rows
from teachers.inference.store import Row
from teachers.records import MESSAGE
from teachers.storage import write_atomically

_CONVERSATIONS = pa.schema(
    [
        ("id", pa.string()),
        ("doc_id", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("plan", pa.list_(pa.string())),  # the kind of each turn
        ("phenomena", pa.list_(pa.string())),  # that each turn shows; null where it is free
        ("teachers", pa.list_(pa.string())),  # who wrote each turn
        ("passages", pa.list_(pa.string())),  # id in corpus of the passage that each turn is about
        ("evidence", pa.list_(pa.string())),  # the sentence that grounds each turn; null where none has to
        ("axes", pa.string()),  # JSON: the conversation's value of each axis
    ]
)
_QUESTIONS = pa.schema(
    [
        ("id", pa.string()),
        ("conversation_id", pa.string()),
        ("messages", pa.list_(MESSAGE)),  # the last one is the question
        ("response", pa.string()),  # that answered it
        ("positives", pa.list_(pa.string())),  # ids of the passage that answers it, and of its document
    ]
)
_CORPUS = pa.schema([("doc_id", pa.string()), ("text", pa.string())])
_ROWS_AT_A_TIME = 1000


def write_dataset_files(
    conversations_uri: str, documents_uri: str, folder_uri: str, passage_words: int
) -> dict[str, int]:
    """Write SYNTHESISED and passages of DOCUMENTS as files; return the number of rows of each."""
    conversations = Rows(conversations_uri)
    files: dict[str, tuple[pa.Schema, Callable[[], Iterable[Row]]]] = {
        "conversations": (_CONVERSATIONS, lambda: map(_conversation, conversations)),
        "questions": (_QUESTIONS, lambda: chain.from_iterable(map(_questions, conversations))),
        "corpus": (_CORPUS, lambda: _passages(documents_uri, passage_words)),
    }

    counts = {}
    for name, (schema, rows) in files.items():
        counts[name] = _write_lines(f"{folder_uri}/{name}.jsonl", rows())
        _write_parquet(f"{folder_uri}/{name}.parquet", rows(), schema)
    return counts


def _conversation(row: Row) -> Row:
    """Return a row of `conversations`."""
    turns = row["turns"]
    return {
        "id": row["conversation_id"],
        "doc_id": row["doc_id"],
        "messages": row["messages"],
        "plan": [turn["vertex"] for turn in turns],
        "phenomena": [turn["phenomenon"] for turn in turns],
        "teachers": [turn["teacher"] for turn in turns],
        "passages": [_passage_id(row["doc_id"], turn["passage"]) for turn in turns],
        "evidence": [turn["evidence"] for turn in turns],
        "axes": json.dumps(dict(row["axes"])),
    }


def _questions(row: Row) -> Iterator[Row]:
    """Yield rows of `questions`: the conversation up to each user's turn whose answer has evidence."""
    for place, turn in enumerate(row["turns"]):
        if place and turn["evidence"] and row["messages"][place - 1]["role"] == "user":
            yield {
                "id": f"{row['conversation_id']}-{place}",
                "conversation_id": row["conversation_id"],
                "messages": row["messages"][:place],
                "response": row["messages"][place]["content"],
                "positives": [_passage_id(row["doc_id"], turn["passage"]), row["doc_id"]],
            }


def _passages(documents_uri: str, max_words: int) -> Iterator[Row]:
    """Yield rows of `corpus`."""
    for document in Rows(documents_uri):
        for place, text in enumerate(passages(document["text"], max_words)):
            yield {"doc_id": _passage_id(document["doc_id"], place), "text": text}


def _passage_id(doc_id: str, place: int) -> str:
    """Return the id in `corpus` of a document's passage."""
    return f"{doc_id}/{place}"


def _write_lines(uri: str, rows: Iterable[Row]) -> int:
    """Replace the file by the rows as JSON Lines; return their number."""
    count = 0
    with write_atomically(uri) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def _write_parquet(uri: str, rows: Iterable[Row], schema: pa.Schema) -> None:
    remaining = iter(rows)
    with write_atomically(uri) as stream, pq.ParquetWriter(stream, schema) as file:
        while batch := list(islice(remaining, _ROWS_AT_A_TIME)):
            file.write_table(pa.Table.from_pylist(batch, schema=schema))
