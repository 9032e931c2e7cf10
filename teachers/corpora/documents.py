"""Documents to search: read from a corpus, one row for each id; wrong rows are rejected."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from teachers.corpora import chitchat, python_topics
from teachers.corpora.config import DocumentsConfig
from teachers.corpora.conversations import CHITCHAT, check_source, source_identity
from teachers.corpora.messages import check_characters
from teachers.corpora.python_topics import PYTHON_TOPICS
from teachers.corpora.rejections import Rejections
from teachers.corpora.row_files import read_files, row_object
from teachers.dataset import Rows, rows_to, write_rows
from teachers.records import DOCUMENTS, REJECTED, RESPONSE_SET
from teachers.scratch import insert, query_rows, scratch_database
from teachers.words import cut_at_word

_READ = pa.schema([("place", pa.int64()), ("origin", pa.string()), *DOCUMENTS])
_FIRST = "place = min(place) over (partition by doc_id)"


def write_documents(documents_uri: str, rejected_uri: str, config: DocumentsConfig) -> Counter[str]:
    """Write DOCUMENTS in the corpus's order, and REJECTED; return the counts of rows by outcome.

    A row of the corpus has `doc_id`, `text` and, where there is one, a `title`, which goes before the text.
    The first row with an id is kept.

    Raises:
        ValueError: the corpus does not exist, or has no document.
    """
    for corpus in config.corpus:
        check_corpus(corpus)
    counts: Counter[str] = Counter()
    with scratch_database() as database, rows_to(rejected_uri, REJECTED) as writer:
        rejections = Rejections(writer)
        database.execute("create table read (place bigint, origin varchar, doc_id varchar, text varchar)")
        insert(database, "read", _read(config, rejections, counts), _READ)

        repeated = f"select origin, doc_id from read qualify not {_FIRST} order by place"
        for origin, doc_id in query_rows(database, repeated):
            counts["documents rejected"] += 1
            rejections.add(origin, doc_id, "`doc_id` was there before")

        kept = query_rows(database, f"select doc_id, text from read qualify {_FIRST} order by place")
        rows = ({"doc_id": doc_id, "text": text} for doc_id, text in kept)
        counts["documents"] = write_rows(documents_uri, rows, DOCUMENTS)

    if not counts["documents"]:
        raise ValueError(
            f"documents.corpus: {', '.join(config.corpus)} has no document: {rejections.in_words()}"
        )
    return counts


def as_response_set(documents_uri: str) -> pa.Table:
    """Return DOCUMENTS as a RESPONSE_SET for an index, in the same order."""
    rows = (
        {"response_id": row["doc_id"], "text": row["text"], "source": "gold", "teacher": None}
        for row in Rows(documents_uri)
    )
    return pa.Table.from_pylist(list(rows), schema=RESPONSE_SET)


def check_corpus(corpus: str) -> None:
    """Raise ValueError where the corpus cannot be read, before anything is started."""
    if corpus != PYTHON_TOPICS:
        check_source(corpus)


def documents_identity(config: DocumentsConfig) -> list[Any]:
    """Return what changes when a corpus does, wherever it lies."""
    identities: list[Any] = []
    for corpus in config.corpus:
        identities.append(corpus if corpus == PYTHON_TOPICS else source_identity(corpus))
    return identities


def _read(config: DocumentsConfig, rejections: Rejections, counts: Counter[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the table `read`."""
    rows = chain.from_iterable(_rows_of(corpus) for corpus in config.corpus)

    for place, (origin, row) in enumerate(rows):
        rejections.see(row)
        try:
            doc_id, text = _id_and_text(row)
        except ValueError as error:
            counts["documents rejected"] += 1
            rejections.add(origin, row, str(error))
            continue

        cut = cut_at_word(text, config.max_characters)
        counts["documents cut"] += cut != text
        yield place, origin, doc_id, cut


def _rows_of(corpus: str) -> Iterator[tuple[str, Any]]:
    if corpus == CHITCHAT:
        return chitchat.documents()
    return python_topics.documents() if corpus == PYTHON_TOPICS else read_files(corpus, ["text"])


def _id_and_text(row: Any) -> tuple[str, str]:
    """Return id and text of a document.

    Raises:
        ValueError: the row is not a document; the message says why.
    """
    row = row_object(row)
    doc_id = row.get("doc_id", row.get("_id"))  # BEIR's name for it
    for key, value in (("doc_id", doc_id), ("text", row.get("text"))):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"`{key}` is not a string with text")
    doc_id = str(doc_id)
    if any(character.isspace() for character in doc_id):
        raise ValueError("`doc_id` has a space in it, which TREC's files cannot have")

    title = row.get("title")
    if title is not None and not isinstance(title, str):
        raise ValueError("`title` is not a string")
    text = " ".join(f"{title or ''} {row['text']}".split())
    check_characters("its text", f"{doc_id}{text}")
    return doc_id, text
