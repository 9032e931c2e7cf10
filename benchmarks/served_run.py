"""A run to serve: many responses by the packaged encoder."""

from pathlib import Path

import pyarrow as pa
from vectors import MAX_TOKENS, MODEL, TURNS, Conversation, embed, enlarge, real_responses

from serve.config import IndexConfig
from serve.index import IndexContent, Reranker, write_version
from student.encoders.encoder import EncoderSource, student_hash
from student.encoders.packaged import resolve_model
from student.export.onnx_export import MIN_TEXTS, export_student
from student.text import context_text
from teachers.records import RESPONSE_SET


def write_run(folder: Path, size: int, real: int, rerank_depth: int = 0) -> list[Conversation]:
    """Write a run with an index of `size` responses; return conversations to post to it.

    With `rerank_depth` the same encoder, loaded a second time, re-ranks.
    """
    texts, conversations = real_responses(real)
    vectors = enlarge(embed(texts, conversations)[0], size)

    rows = [
        {
            "response_id": f"{number:016x}",
            "text": texts[number % len(texts)],
            "source": "gold",
            "teacher": None,
        }
        for number in range(size)
    ]

    source = EncoderSource(resolve_model(MODEL), "dense", MAX_TOKENS)
    responses = pa.Table.from_pylist(rows, schema=RESPONSE_SET)
    reranker = Reranker(source, vectors, rerank_depth) if rerank_depth else None
    content = IndexContent(responses, vectors, reranker=reranker)
    write_version(content, source, str(folder), IndexConfig(), TURNS)
    return conversations


def export(folder: Path, conversations: list[Conversation]) -> None:
    """Write the run's student as ONNX."""
    student = resolve_model(MODEL)
    texts = [context_text(conversation, TURNS) for conversation in conversations][:MIN_TEXTS]
    exported = folder / "onnx" / student_hash(student)
    export_student(Path(student), str(exported), "dense", MAX_TOKENS, {"context": texts, "response": texts})
