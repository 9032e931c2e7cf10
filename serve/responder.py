"""The responder: a conversation in, scored responses out. A plain class that needs no Ray.

D dimensions of the student, R of the re-ranker.
"""

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute

from serve.changes import Changes
from serve.dense import Mask
from serve.diversity import maximal_marginal_relevance
from serve.encoders import Encoders
from serve.index import Index
from serve.inverted import Rows, Scores
from serve.response_rows import Query, ResponseRows, ScoredResponse, dense, of_unit_length, vectors_of_texts
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
    """Retrieves responses from an index and the changes since, with the encoders that made the index."""

    def __init__(self, index: Index, encoders: Encoders, changes: Changes) -> None:
        self._index = index
        self._encoders = encoders
        self._rows = ResponseRows(index, encoders, changes)

    def changed(self, changes: Changes) -> "Responder":
        """The same responder with other changes."""
        responder = copy(self)
        responder._rows = self._rows.changed(changes)
        return responder

    @property
    def changes(self) -> Changes:
        """The changes since the index was made, with which it answers."""
        return self._rows.changes

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
        return self._rows.num_present

    @property
    def indexed(self) -> pa.Table:
        """The responses of the index (RESPONSE_SET), withdrawn ones included."""
        return self._index.responses

    @property
    def unindexed(self) -> dict[str, str]:
        """Response id -> text of the added responses that the index lacks, withdrawn ones included."""
        return self._rows.unindexed

    def text_of(self, response_id: str) -> str | None:
        """The text of an indexed or added response, withdrawn or not; None for an unknown id."""
        row = pa.compute.index(self.indexed["response_id"], response_id).as_py()
        return self._rows.text_at(row) if row >= 0 else self.changes.added.get(response_id)

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
        text = self._student_text(turns)
        tokens = self._encoders.student.tokenise([text], "context")
        timings.tokenise, start = _elapsed_ms(start)

        query = self._encoded(text, self._encoders.student.encode(tokens, "context"))
        timings.encode, start = _elapsed_ms(start)

        scores, rows, echoes = self._search_unsaid(query, k * _POOL if diversity else k, sources, turns)
        echoes &= demotes_echoes
        order = np.flatnonzero(~echoes)
        if diversity and len(order):
            order = order[self._diverse(scores[order], rows[order], k, diversity)]
        responses = []
        for place in [*order, *np.flatnonzero(echoes)][:k]:
            responses.append(self._rows.response_at(rows[place], scores[place]))
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
        _, rows = self._rows.nearest(query, k, None)
        cosines = self._rows.unit_vectors(rows) @ of_unit_length(dense(query))[0]

        nearest: list[ScoredResponse] = []
        for place in np.argsort(-cosines, kind="stable"):
            nearest.append(self._rows.response_at(rows[place], cosines[place]))
        return nearest

    def _encode(self, texts: Sequence[str], side: Side = "response") -> Vectors:
        return vectors_of_texts(self._encoders.student, texts, side, self._index.metadata["dimensions"])

    def _encoded(self, text: str, vector: Vectors) -> Query:
        """The query of a context with the student's `vector` [1, D]."""
        reranker = self._encoders.reranker
        if reranker is None:
            return Query(vector, None)
        return Query(vector, dense(reranker.encode(reranker.tokenise([text], "context"), "context"))[0])

    def _student_text(self, turns: Sequence[Mapping[str, str]]) -> str:
        return context_text(turns, self._index.metadata["context_turns"])

    def _search_unsaid(
        self, query: Query, k: int, sources: frozenset[str], turns: Sequence[Mapping[str, str]]
    ) -> tuple[Scores, Rows, Mask]:
        """Scores and rows of responses that `turns` have not said, and which of them nearly copy a turn.

        At least `k` are no near copies, or fewer where the index has no more.
        """
        keys, contents = said_keys(turns), [turn["content"] for turn in turns]
        num_searched = k + len(turns) + _SPARE

        while True:
            scores, rows = self._rows.search(query, num_searched, sources)
            texts = [self._rows.text_at(row) for row in rows]
            unsaid = [place for place, text in enumerate(texts) if text_key(text) not in keys]
            echoes = np.array([is_near_copy(texts[place], contents) for place in unsaid], np.bool_)
            if (~echoes).sum() >= k or len(rows) < num_searched:
                return scores[unsaid], rows[unsaid], echoes
            num_searched *= 4

    def _diverse(self, scores: Scores, rows: Rows, k: int, diversity: float) -> Rows:
        """Choose up to `k` of the candidates; return their positions in `rows`."""
        vectors = self._rows.unit_vectors(rows)
        # A sparse student's scores have no upper bound: shares of the best are on the scale of cosines.
        shares = scores / max(float(scores[0]), _TINY)
        return maximal_marginal_relevance(shares, vectors @ vectors.T, k, diversity)


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
