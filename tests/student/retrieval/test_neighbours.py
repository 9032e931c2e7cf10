"""Retrieved candidates, with a tiny encoder of random weights."""

from pathlib import Path

import numpy as np
import pytest

from student.encoders.encoder import EncoderSource, embed_texts, load_encoder
from student.retrieval.neighbours import Retrieval, write_neighbours
from teachers.dataset import read_rows, write_rows
from teachers.records import EXAMPLES
from tests.student.student_rows import example_rows


@pytest.mark.usefixtures("ray_cluster")
def test_neighbours_are_the_nearest_other_responses(tiny_encoder: Path, tmp_path: Path) -> None:
    examples = [*example_rows(30, "train"), *example_rows(3, "test")]
    uris = [str(tmp_path / name) for name in ("examples", "contexts", "neighbours")]
    write_rows(uris[0], examples, EXAMPLES)
    unanswered = {**examples[12], "split": "unanswered", "gold_response": None}
    write_rows(uris[1], [*examples[:12], unanswered], EXAMPLES)
    retriever = EncoderSource(str(tiny_encoder), "dense", 16, "fp32")
    counts = write_neighbours(*uris, Retrieval(retriever, 4, 5), lambda *_: None)
    assert counts == {"contexts": 13, "responses": 30}
    neighbours = {row["example_id"]: row["responses"] for row in read_rows(uris[2])}
    encoder = load_encoder(retriever)
    responses = [example["gold_response"] for example in examples[:30]]
    for example in [*examples[:12], unanswered]:
        others = [response for response in responses if response != example["gold_response"]]
        context = embed_texts(encoder, [example["context"][0]["content"]], "context")[0]
        scores = embed_texts(encoder, others, "response") @ context
        assert neighbours[example["example_id"]] == [others[i] for i in np.argsort(-scores)[:5]]
