"""The responder: a conversation in, scored responses out. A plain class that needs no Ray.

N responses of the index, D dimensions. Rows from N on are those of added responses.
"""

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
from scipy.sparse import csr_matrix

from serve.changes import Changes
from serve.dense import Mask
from serve.diversity import maximal_marginal_relevance
from serve.encoders import TextEncoder
from serve.index import Index
from serve.inverted import Rows, Scores
from student.encoders.encoder import Side, Vectors, inner_products
from student.evaluation.abstention import Confidence
from student.text import context_text
from teachers.texts import is_near_copy, said_keys, text_key

SOURCES = ("gold", "generated", "added")
# Candidates per response of a diverse answer.
_POOL = 4
# Responses searched beside those asked for, in the place of what the conversation has said.
_SPARE = 16
_TINY = 1e-30  # avoids a division by 0


@dataclass(frozen=True)
class ScoredResponse:
    """A response of the response set and its inner product with the context."""

    response_id: str
    text: str
    score: float
    source: str  # gold, generated or added
    teacher: str | None  # of a generated response


@dataclass
class Timings:
    """Milliseconds of an answer's parts."""

    tokenise: float = 0.0
    encode: float = 0.0
    search: float = 0.0


@dataclass(frozen=True)
class Answer:
    """Retrieved responses, best first, with the tokens and the time that they took."""

    responses: list[ScoredResponse]
    tokens: int
    """Tokens that the student read."""
    cross_entropy: float | None
    """Nats per word of the last turn among the responses' words, shrunk (`WordModel`); None without
    a confidence of the index."""
    timings: Timings


class Responder:
    """Retrieves responses from an index and the changes since, with the student that made the index."""

    def __init__(self, index: Index, encoder: TextEncoder, changes: Changes) -> None:
        self._index = index
        self._encoder = encoder
        self._added: list[ScoredResponse] = []
        self._added_vectors = self._encode([])
        self._take(changes)

    def changed(self, changes: Changes) -> "Responder":
        """The same responder with other changes."""
        responder = copy(self)
        responder._take(changes)
        return responder

    def _take(self, changes: Changes) -> None:
        self.changes = changes
        self._filters: dict[frozenset[str], Any] = {}
        ids = self._index.responses["response_id"]
        self._present = ~np.asarray(pa.compute.is_in(ids, pa.array(sorted(changes.withdrawn), pa.string())))

        indexed = set(ids.filter(pa.compute.is_in(ids, pa.array([*changes.added], pa.string()))).to_pylist())
        self.unindexed = {id: text for id, text in changes.added.items() if id not in indexed}
        """Response id -> text of the added responses that the index lacks, withdrawn ones included."""

        added: list[ScoredResponse] = []
        for response_id, text in self.unindexed.items():
            if response_id not in changes.withdrawn:
                added.append(ScoredResponse(response_id, text, 0.0, "added", None))

        # A reviewer's approvals come one by one: they encode nothing again.
        if added != self._added:
            self._added, self._added_vectors = added, self._encode([response.text for response in added])

    @property
    def version(self) -> str:
        """The version of the index."""
        return self._index.version

    @property
    def confidence(self) -> Confidence | None:
        """Which turns get an answer, and how sure one is; None where that was not fitted."""
        return self._index.confidence

    @property
    def num_responses(self) -> int:
        """The number of responses that can be retrieved."""
        return int(self._present.sum()) + len(self._added)

    @property
    def indexed(self) -> pa.Table:
        """The responses of the index (RESPONSE_SET), withdrawn ones included."""
        return self._index.responses

    def text_of(self, response_id: str) -> str | None:
        """The text of an indexed or added response, withdrawn or not; None for an unknown id."""
        row = pa.compute.index(self.indexed["response_id"], response_id).as_py()
        return self._text_at(row) if row >= 0 else self.changes.added.get(response_id)

    def respond(
        self,
        messages: Sequence[Mapping[str, str]],
        k: int,
        sources: frozenset[str] = frozenset(SOURCES),
        diversity: float = 0.0,
    ) -> Answer:
        """Retrieve the `k` best responses of `sources`, best first, or all where there are fewer.

        `messages` are in OpenAI's chat format, oldest first. No response that the conversation has already
        said is retrieved, and near copies of its turns come last. A `diversity` between 0 and 1 demotes
        responses that are similar to better ones, see `maximal_marginal_relevance`.

        Raises:
            ValueError: no message has the role user or assistant.
        """
        return self._retrieve(messages, k, sources, diversity, demotes_echoes=True)

    def _retrieve(
        self,
        messages: Sequence[Mapping[str, str]],
        k: int,
        sources: frozenset[str],
        diversity: float,
        demotes_echoes: bool,
    ) -> Answer:
        timings = Timings()
        start = time.perf_counter()
        turns = _turns(messages)
        tokens = self._encoder.tokenise([self._student_text(turns)], "context")
        timings.tokenise, start = _elapsed_ms(start)

        query = self._encoder.encode(tokens, "context")  # [1, D]
        timings.encode, start = _elapsed_ms(start)

        scores, rows, echoes = self._search_unsaid(query, k * _POOL if diversity else k, sources, turns)
        echoes &= demotes_echoes
        order = np.flatnonzero(~echoes)
        if diversity and len(order):
            order = order[self._diverse(scores[order], rows[order], k, diversity)]
        responses = []
        for place in [*order, *np.flatnonzero(echoes)][:k]:
            responses.append(self._response_at(rows[place], scores[place]))
        timings.search, _ = _elapsed_ms(start)

        words = self._index.words
        cross_entropy = None if words is None else words.shrunk_cross_entropy(turns[-1]["content"])
        return Answer(responses, int(np.asarray(tokens["attention_mask"]).sum()), cross_entropy, timings)

    def search(self, messages: Sequence[Mapping[str, str]], k: int) -> Answer:
        """Retrieve documents: without those that share no term with a sparse context, best first.

        A document that nearly copies a turn may be the very one that was asked for: it is not demoted.

        Raises:
            ValueError: see `respond`.
        """
        retrieved = self._retrieve(messages, k, frozenset(SOURCES), 0.0, demotes_echoes=False)
        matching = [response for response in retrieved.responses if response.score != 0]
        return replace(retrieved, responses=matching)

    def score(self, messages: Sequence[Mapping[str, str]], candidates: Sequence[str]) -> list[float]:
        """Inner products of the context with each candidate.

        Raises:
            ValueError: see `respond`.
        """
        query = self._encode([self._student_text(_turns(messages))], "context")
        scores: list[float] = inner_products(query, self._encode(candidates))[0].tolist()
        return scores

    def nearest(self, text: str, k: int) -> list[ScoredResponse]:
        """The `k` responses most similar to a text, most similar first, with cosines as scores.

        Responses of the index are among them even if they are withdrawn.
        """
        query = self._encode([text])
        _, rows = self._search(query, k, None)
        cosines = self._unit_vectors(rows) @ _of_unit_length(_dense(query))[0]

        nearest: list[ScoredResponse] = []
        for place in np.argsort(-cosines, kind="stable"):
            nearest.append(self._response_at(rows[place], cosines[place]))
        return nearest

    def _encode(self, texts: Sequence[str], side: Side = "response") -> Vectors:
        if not texts:
            return np.zeros((0, self._index.metadata["dimensions"]), dtype=np.float32)
        return self._encoder.encode(self._encoder.tokenise(texts, side), side)

    def _student_text(self, turns: Sequence[Mapping[str, str]]) -> str:
        return context_text(turns, self._index.metadata["context_turns"])

    def _search_unsaid(
        self, query: Vectors, k: int, sources: frozenset[str], turns: Sequence[Mapping[str, str]]
    ) -> tuple[Scores, Rows, Mask]:
        """Scores and rows of responses that `turns` have not said, and which of them nearly copy a turn.

        At least `k` are no near copies, or fewer where the index has no more.
        """
        keys, contents = said_keys(turns), [turn["content"] for turn in turns]
        num_searched = k + len(turns) + _SPARE

        while True:
            scores, rows = self._search(query, num_searched, sources)
            texts = [self._text_at(row) for row in rows]
            unsaid = [place for place, text in enumerate(texts) if text_key(text) not in keys]
            echoes = np.array([is_near_copy(texts[place], contents) for place in unsaid], np.bool_)
            if (~echoes).sum() >= k or len(rows) < num_searched:
                return scores[unsaid], rows[unsaid], echoes
            num_searched *= 4

    def _search(self, query: Vectors, k: int, sources: frozenset[str] | None) -> tuple[Scores, Rows]:
        """Scores and rows [up to k], best first, ties by the lower row.

        Without `sources` every response is searched, withdrawn ones of the index included.
        """
        size = self._index.vectors.ntotal
        only = None if sources is None else self._only(sources)
        score_matrix, row_matrix = self._index.vectors.search(query, min(k, size), only)
        filled = row_matrix[0] >= 0
        scores, rows = score_matrix[0][filled], row_matrix[0][filled]

        if self._added and (sources is None or "added" in sources):
            scores = np.concatenate([scores, inner_products(query, self._added_vectors)[0]])
            rows = np.concatenate([rows, size + np.arange(len(self._added))])
            best = np.lexsort((rows, -scores))[:k]
            scores, rows = scores[best], rows[best]
        return scores, rows

    def _only(self, sources: frozenset[str]) -> Any:
        """The index's filter for these sources; None where it would allow every row."""
        if sources not in self._filters:
            has_source = pa.compute.is_in(self._index.responses["source"], pa.array(sorted(sources)))
            allowed = self._present & np.asarray(has_source)
            self._filters[sources] = None if allowed.all() else self._index.vectors.only(allowed)
        return self._filters[sources]

    def _diverse(self, scores: Scores, rows: Rows, k: int, diversity: float) -> Rows:
        """Choose up to `k` of the candidates; return their positions in `rows`."""
        vectors = self._unit_vectors(rows)
        # A sparse student's scores have no upper bound: shares of the best are on the scale of cosines.
        shares = scores / max(float(scores[0]), _TINY)
        return maximal_marginal_relevance(shares, vectors @ vectors.T, k, diversity)

    def _unit_vectors(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The vectors [R, D] of rows [R], of length one."""
        size = self._index.vectors.ntotal
        indexed = rows < size
        vectors = np.zeros((len(rows), self._index.metadata["dimensions"]), dtype=np.float32)
        vectors[indexed] = _dense(self._index.vectors.vectors(rows[indexed]))
        vectors[~indexed] = _dense(self._added_vectors[rows[~indexed] - size])
        return _of_unit_length(vectors)

    def _text_at(self, row: int) -> str:
        size = self._index.vectors.ntotal
        if row >= size:
            return self._added[row - size].text
        text: str = self._index.responses["text"][int(row)].as_py()
        return text

    def _response_at(self, row: int, score: float) -> ScoredResponse:
        size = self._index.vectors.ntotal
        if row >= size:
            return replace(self._added[row - size], score=float(score))
        return ScoredResponse(score=float(score), **self._index.responses.slice(row, 1).to_pylist()[0])


def _dense(vectors: Vectors) -> npt.NDArray[np.float32]:
    dense: npt.NDArray[np.float32] = vectors.toarray() if isinstance(vectors, csr_matrix) else vectors
    return dense


def _of_unit_length(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = vectors / np.maximum(lengths, _TINY)
    return unit


def _turns(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The turns of users and assistants, on which alone a student is trained.

    Raises:
        ValueError: there is none.
    """
    turns = [message for message in messages if message["role"] in ("user", "assistant")]
    if not turns:
        raise ValueError("messages: expected text in at least one message of a user or an assistant")
    return turns


def _elapsed_ms(start: float) -> tuple[float, float]:
    """Milliseconds since `start`, and the current time."""
    now = time.perf_counter()
    return 1000 * (now - start), now
