"""The synthesised conversations as files: for `datasets`, for jobs/distill.py and for jobs/search.py.

dataset/conversations   `messages`, plan, axes, evidence
dataset/questions       conversations up to a question that a passage answers, for search
dataset/corpus          the passages, for search
dataset/README.md       the data set's card

The first three are there as .parquet and as .jsonl.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.execution.run_directory import RunDirectory
from jobs.reports.licences import licences_of_teachers, shown_name
from jobs.synthesis.config import SynthesisJobConfig
from teachers.corpora.passages import passages
from teachers.corpora.python_topics import PYTHON_TOPICS
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
_CORPORA = {PYTHON_TOPICS: "Python's own help (Python Software Foundation Licence 2)"}
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
_CARD_TEMPLATE = Path(__file__).parent / "dataset_card.md.j2"


def write_dataset(run: RunDirectory, config: SynthesisJobConfig) -> dict[str, Any]:
    """Write the folder `dataset` of the run; return the number of rows of each file."""
    conversations = Rows(run.at("conversations"))
    files: dict[str, tuple[pa.Schema, Callable[[], Iterable[Row]]]] = {
        "conversations": (_CONVERSATIONS, lambda: map(_conversation, conversations)),
        "questions": (_QUESTIONS, lambda: chain.from_iterable(map(_questions, conversations))),
        "corpus": (_CORPUS, lambda: _passages(run, config.synthesis.passage_words)),
    }

    folder = run.make_folder("dataset")
    counts = {}
    for name, (schema, rows) in files.items():
        counts[name] = _write_lines(f"{folder}/{name}.jsonl", rows())
        _write_parquet(f"{folder}/{name}.parquet", rows(), schema)

    run.write_text(_card(config, counts), "dataset", "README.md")
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
        "passages": [passage_id(row["doc_id"], turn["passage"]) for turn in turns],
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
                "positives": [passage_id(row["doc_id"], turn["passage"]), row["doc_id"]],
            }


def _passages(run: RunDirectory, max_words: int) -> Iterator[Row]:
    """Yield rows of `corpus`."""
    for document in Rows(run.at("documents")):
        for place, text in enumerate(passages(document["text"], max_words)):
            yield {"doc_id": passage_id(document["doc_id"], place), "text": text}


def passage_id(doc_id: str, place: int) -> str:
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


def _card(config: SynthesisJobConfig, counts: Mapping[str, int]) -> str:
    """Return README.md as Hugging Face's Hub and `datasets` read it."""
    front_matter = huggingface_hub.DatasetCardData(
        pretty_name="Conversations synthesised by Rejoinder",
        language="en",
        task_categories=["text-generation", "question-answering", "text-retrieval"],
        tags=["synthetic", "conversational", "rejoinder"],
        # `datasets` reads files of one format in a folder.
        configs=[{"config_name": name, "data_files": f"{name}.parquet"} for name in counts],
    )

    corpora = ", ".join(_CORPORA.get(corpus, shown_name(corpus)) for corpus in config.documents.corpus)
    teachers = licences_of_teachers(config.model_dump(mode="json")["teachers"])
    return str(
        huggingface_hub.DatasetCard.from_template(
            front_matter,
            template_path=str(_CARD_TEMPLATE),
            counts=counts,
            corpora=corpora,
            licences={shown_name(model): licence or "unknown" for model, licence in teachers.items()},
        )
    )
