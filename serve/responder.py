"""The responder: a conversation in, scored responses out. A plain class that needs no Ray. N responses."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from scipy.sparse import csr_matrix

from serve.changes import Changes
from serve.diversity import maximal_marginal_relevance
from serve.encoders import TextEncoder
from serve.index import Index
from serve.inverted import Rows, Scores
from student.encoders.encoder import Side, Vectors, inner_products
from student.text import context_text

SOURCES = ("gold", "generated", "added")
# Candidates that a diverse answer is chosen among, for each of its responses.
_POOL = 4
_TINY = 1e-30  # instead of dividing by 0


@dataclass(frozen=True)
class ScoredResponse:
    """A response of the response set and its inner product with the context."""

    response_id: str
    text: str
    score: float
    source: str  # gold, generated or added
    teacher: str | None  # of a generated one


@dataclass
class Timings:
    """Milliseconds of an answer's parts."""

    tokenise: float = 0.0
    encode: float = 0.0
    search: float = 0.0


@dataclass(frozen=True)
class Answer:
    """Responses, best first, and what they took."""

    responses: list[ScoredResponse]
    tokens: int
    """That the student read."""
    timings: Timings


class Responder:
    """Answers conversations from an index, with the student that made it, and the changes since."""

    def __init__(self, index: Index, encoder: TextEncoder, changes: Changes) -> None:
        self.changes = changes
        self._index = index
        self._encoder = encoder
        self._filters: dict[frozenset[str], Any] = {}
        ids = index.responses["response_id"]
        known = set(ids.filter(pa.compute.is_in(ids, pa.array([*changes.added], pa.string()))).to_pylist())
        self._added = [
            ScoredResponse(response_id, text, 0.0, "added", None)
            for response_id, text in changes.added.items()
            if response_id not in known
        ]
        self._added_vectors = self._encode([response.text for response in self._added])
        self._present = ~np.asarray(pa.compute.is_in(ids, pa.array(sorted(changes.withdrawn), pa.string())))

    def changed(self, changes: Changes) -> "Responder":
        """The same with other changes."""
        return Responder(self._index, self._encoder, changes)

    @property
    def version(self) -> str:
        """The index's."""
        return self._index.version

    @property
    def num_responses(self) -> int:
        """Responses that may be given."""
        return int(self._present.sum()) + len(self._added)

    def has(self, response_id: str) -> bool:
        """Whether a response id may be given, or is withdrawn."""
        ids = self._index.responses["response_id"]
        return pa.compute.index(ids, response_id).as_py() >= 0 or any(
            response.response_id == response_id for response in self._added
        )

    def respond(
        self,
        messages: Sequence[Mapping[str, str]],
        k: int,
        sources: frozenset[str] = frozenset(SOURCES),
        diversity: float = 0.0,
    ) -> Answer:
        """The `k` best responses of `sources`, best first, or fewer where there are fewer.

        `messages` are in OpenAI's chat format, oldest first. With `diversity` between 0 and 1 those that
        resemble the better ones give way, see `maximal_marginal_relevance`.

        Raises:
            ValueError: no message is of a user or an assistant.
        """
        timings = Timings()
        start = time.perf_counter()
        tokens = self._encoder.tokenise(
            [_text_of(messages, self._index.metadata["context_turns"])], "context"
        )
        timings.tokenise, start = _since(start)
        query = self._encoder.encode(tokens, "context")  # [1, D]
        timings.encode, start = _since(start)
        scores, places = self._search(query, k * _POOL if diversity else k, sources)
        if diversity and len(places):
            chosen = self._diverse(scores, places, k, diversity)
            scores, places = scores[chosen], places[chosen]
        responses = [self._at(place, score) for score, place in zip(scores, places, strict=True)]
        timings.search, _ = _since(start)
        return Answer(responses, int(np.asarray(tokens["attention_mask"]).sum()), timings)

    def search(self, messages: Sequence[Mapping[str, str]], k: int) -> Answer:
        """The same as documents: without those that share no term with a sparse student's context.

        Raises:
            ValueError: see `respond`.
        """
        found = self.respond(messages, k)
        return replace(found, responses=[response for response in found.responses if response.score != 0])

    def score(self, messages: Sequence[Mapping[str, str]], candidates: Sequence[str]) -> list[float]:
        """Inner products of the context with each candidate.

        Raises:
            ValueError: see `respond`.
        """
        query = self._encode([_text_of(messages, self._index.metadata["context_turns"])], "context")
        found: list[float] = inner_products(query, self._encode(candidates))[0].tolist()
        return found

    def _encode(self, texts: Sequence[str], side: Side = "response") -> Vectors:
        if not texts:
            return np.zeros((0, self._index.metadata["dimensions"]), dtype=np.float32)
        return self._encoder.encode(self._encoder.tokenise(texts, side), side)

    def _search(self, query: Vectors, k: int, sources: frozenset[str]) -> tuple[Scores, Rows]:
        """Scores and places [up to k], best first; places from N on are those of added responses."""
        size = self._index.vectors.ntotal
        only = self._only(sources)
        scores, places = (found[0] for found in self._index.vectors.search(query, min(k, size), only))
        scores, places = scores[places >= 0], places[places >= 0]
        if self._added and "added" in sources:
            scores = np.concatenate([scores, inner_products(query, self._added_vectors)[0]])
            places = np.concatenate([places, size + np.arange(len(self._added))])
            best = np.lexsort((places, -scores))[:k]
            scores, places = scores[best], places[best]
        return scores, places

    def _only(self, sources: frozenset[str]) -> Any:
        """What an index's search takes for these sources; None where that is all of it."""
        if sources not in self._filters:
            of_source = pa.compute.is_in(self._index.responses["source"], pa.array(sorted(sources)))
            allowed = self._present & np.asarray(of_source)
            self._filters[sources] = None if allowed.all() else self._index.vectors.only(allowed)
        return self._filters[sources]

    def _diverse(self, scores: Scores, places: Rows, k: int, diversity: float) -> Rows:
        """Of the places found, those chosen."""
        size = self._index.vectors.ntotal
        vectors = np.zeros((len(places), self._index.metadata["dimensions"]), dtype=np.float32)
        indexed = places < size
        for own, found in (
            (indexed, self._index.vectors.vectors(places[indexed])),
            (~indexed, self._added_vectors[places[~indexed] - size]),
        ):
            vectors[own] = found.toarray() if isinstance(found, csr_matrix) else found
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, _TINY)
        # A sparse student's scores have no upper bound: shares of the best are as large as cosines.
        shares = scores / max(float(scores[0]), _TINY)
        return maximal_marginal_relevance(shares, vectors @ vectors.T, k, diversity)

    def _at(self, place: int, score: float) -> ScoredResponse:
        size = self._index.vectors.ntotal
        if place >= size:
            return replace(self._added[place - size], score=float(score))
        return ScoredResponse(score=float(score), **self._index.responses.slice(place, 1).to_pylist()[0])


def _text_of(messages: Sequence[Mapping[str, str]], context_turns: int) -> str:
    """The student's text; it was trained on turns of users and assistants only."""
    turns = [message for message in messages if message["role"] in ("user", "assistant")]
    if not turns:
        raise ValueError("messages: at least one message of a user or an assistant is needed")
    return context_text(turns, context_turns)


def _since(start: float) -> tuple[float, float]:
    """Milliseconds since `start`, and now."""
    now = time.perf_counter()
    return 1000 * (now - start), now
