"""TREC's files: relevance judgements (qrels), runs and topics, exchanged with other tools.

Columns are separated by spaces or tabs; empty lines are skipped.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import NamedTuple

from teachers.storage import read_bytes, write_text


class Judgement(NamedTuple):
    """A line of qrels: the grade of a document's relevance to a query, 0 or below for none."""

    query_id: str
    doc_id: str
    relevance: int


class Ranked(NamedTuple):
    """A line of a run: a document that was retrieved for a query."""

    query_id: str
    doc_id: str
    rank: int
    score: float
    tag: str
    """The run's name."""


def read_qrels(uri: str) -> Iterator[Judgement]:
    """Yield the judgements; raise ValueError where a line is not `query 0 document relevance`."""
    for place, words in _lines(uri, 4):
        try:
            yield Judgement(words[0], words[2], int(words[3]))
        except ValueError:
            raise ValueError(f"{place}: relevance {words[3]!r} is not a whole number") from None


def read_run(uri: str) -> Iterator[Ranked]:
    """Yield the lines; raise ValueError where one is not `query Q0 document rank score tag`."""
    for place, words in _lines(uri, 6):
        try:
            ranked = Ranked(words[0], words[2], int(words[3]), float(words[4]), words[5])
        except ValueError:
            raise ValueError(f"{place}: rank {words[3]!r} or score {words[4]!r} is not a number") from None
        if not isfinite(ranked.score):
            raise ValueError(f"{place}: expected a finite score, got {words[4]!r}")
        yield ranked


def read_scores(uri: str) -> dict[str, dict[str, float]]:
    """Return a run as query -> document -> score; raise ValueError as `read_run` does."""
    scores: dict[str, dict[str, float]] = {}
    for line in read_run(uri):
        scores.setdefault(line.query_id, {})[line.doc_id] = line.score
    return scores


def read_topics(uri: str) -> Iterator[tuple[str, str]]:
    """Yield (id, query) of each line, the id before the first tab.

    Raises:
        ValueError: a line has no tab; names file and line.
    """
    for number, line in enumerate(_text(uri).split("\n"), start=1):
        if line.strip():
            query_id, tab, query = line.partition("\t")
            if not tab or not query_id.strip():
                raise ValueError(f"{uri}:{number}: expected an id, a tab and a query")
            yield query_id.strip(), query.strip()


def write_qrels(uri: str, judgements: Iterable[Judgement]) -> None:
    """Replace the file by the judgements."""
    _write(uri, (f"{query_id} 0 {doc_id} {relevance}" for query_id, doc_id, relevance in judgements))


def write_run(uri: str, run: Mapping[str, Mapping[str, float]], tag: str) -> None:
    """Replace the file by query -> document -> score: best first, by document where scores tie."""
    lines = []
    for query_id, scores in run.items():
        ranking = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        for rank, (doc_id, score) in enumerate(ranking, start=1):
            lines.append(f"{query_id} Q0 {doc_id} {rank} {score:.9g} {tag}")
    _write(uri, lines)


def write_topics(uri: str, topics: Iterable[tuple[str, str]]) -> None:
    """Replace the file by (id, query)."""
    _write(uri, (f"{query_id}\t{' '.join(query.split())}" for query_id, query in topics))


def _lines(uri: str, num_words: int) -> Iterator[tuple[str, list[str]]]:
    """Yield (file and line number, words) of each line."""
    for number, line in enumerate(_text(uri).split("\n"), start=1):
        if words := line.split():
            if len(words) != num_words:
                raise ValueError(f"{uri}:{number}: expected {num_words} columns, got {len(words)}")
            yield f"{uri}:{number}", words


def _text(uri: str) -> str:
    content = read_bytes(uri)
    if content is None:
        raise ValueError(f"{uri!r} does not exist")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{uri}: expected UTF-8: {error}") from None


def _write(uri: str, lines: Iterable[str]) -> None:
    write_text(uri, "".join(f"{line}\n" for line in lines))
