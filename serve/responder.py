"""The responder: a conversation in, scored responses out. A plain class that needs no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from serve.index import load_index
from student.encoder import EncoderSource, embed_texts, load_encoder
from student.text import context_text


@dataclass(frozen=True)
class ScoredResponse:
    """A response of the response set and its inner product with the context."""

    response_id: str
    text: str
    score: float
    source: str  # gold or generated
    teacher: str | None  # null for gold


class Responder:
    """Answers conversations from an index with the student that built it; both folders are local.

    Raises ValueError where the index is incomplete or another student's.
    """

    def __init__(self, student_folder: str, index_folder: str) -> None:
        self._index = load_index(index_folder, student_folder)
        metadata = self._index.metadata
        self._encoder = load_encoder(
            EncoderSource(student_folder, metadata["student_kind"], metadata["max_tokens"])
        )
        # A tokenizer refuses to be used by two threads at once ("Already borrowed").
        self._encoding = Lock()

    @property
    def num_responses(self) -> int:
        """Responses in the index."""
        return len(self._index.responses)

    def respond(self, messages: Sequence[Mapping[str, str]], k: int) -> list[ScoredResponse]:
        """The `k` best responses to the conversation, best first; all of them where there are fewer.

        `messages` are in OpenAI's chat format, oldest first. System messages are left out, for the
        student is trained on turns of a user and an assistant. Raises ValueError where no turn is left.
        """
        turns = [dict(message) for message in messages if message["role"] != "system"]
        if not turns:
            raise ValueError("messages: at least one message of a user or an assistant is needed")
        text = context_text(turns, self._index.metadata["context_turns"])
        with self._encoding:
            query = embed_texts(self._encoder, [text], "context")  # [1, D]
        scores, rows = self._index.search(query, k)
        found = [(float(score), int(row)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0]
        responses = self._index.responses.take([row for _, row in found]).to_pylist()
        return [
            ScoredResponse(score=score, **response)
            for (score, _), response in zip(found, responses, strict=True)
        ]
