"""Held-out metrics of BM25 and of tiny encoders of random weights."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from student.encoders.encoder import EncoderSource, embed_texts, load_encoder
from student.evaluation.held_out import ContextSample, held_out, response_selection
from student.evaluation.response_ranking import evaluate_student, measure
from teachers.dataset import write_rows
from teachers.records import EXAMPLES, RESPONSE_SET
from tests.student.student_rows import example_rows

pytestmark = pytest.mark.usefixtures("ray_cluster")
SERVED = ["w30", "w31"]


@pytest.fixture(scope="module")
def evaluated(
    tiny_encoder: Path, tiny_sparse_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, float]]:
    """BM25 and two encoders on 25 of 30 toy examples, with two responses besides their responses."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_rows(str(folder / "examples"), example_rows(30, "test"), EXAMPLES)
    served = [{"response_id": text, "text": text, "source": "gold", "teacher": None} for text in SERVED]
    write_rows(str(folder / "responses"), served, RESPONSE_SET)
    evaluation = evaluate_student(
        str(folder / "examples"),
        str(folder / "responses"),
        {
            "dense": EncoderSource(str(tiny_encoder), "dense", 16, "fp32"),
            "sparse": EncoderSource(str(tiny_sparse_encoder), "sparse", 16, "fp32"),
        },
        ContextSample(context_turns=2, num_contexts=25, seed=0),
        tally=lambda *_: None,
    )
    assert len(evaluation.reading) == 20
    for row in evaluation.reading:
        assert row["gold_response"] and row["context"][-1]["role"] == "user"
        assert {name: answer["text"] in SERVED for name, answer in row["answers"].items()} == {
            "dense": True,
            "sparse": True,
        }
    return evaluation.means


def test_bm25_ranks_the_response_with_the_contexts_word_first(evaluated: dict[str, dict[str, float]]) -> None:
    assert evaluated["bm25"] == {
        "hits@1/20": 1.0,
        "mrr": 1.0,
        "recall@1": 1.0,
        "recall@10": 1.0,
        "recall@100": 1.0,
        "ndcg@10": 1.0,
        # "wi" is said, and answered by "wi wi", whose BM25 is higher: the word comes twice.
        "hits@1/20+own": 1.0,
        "own_turn@1": 1.0,
        "echo@1": 0.0,
        "contexts": 25.0,
        "responses": 32.0,
    }
    assert evaluated["dense"].keys() == evaluated["bm25"].keys()
    assert evaluated["dense"]["recall@100"] == 1.0  # of 32 responses


def vectors_of(source: EncoderSource) -> list[NDArray[np.float32]]:
    """Return contexts' and responses' vectors; example i has the context "wi" and the response "wi wi"."""
    encoder = load_encoder(source)
    contexts = embed_texts(encoder, [f"w{i}" for i in range(25)], "context")
    responses = embed_texts(encoder, [*SERVED, *(f"w{i} w{i}" for i in range(30))], "response")
    return [vectors if source.kind == "dense" else vectors.toarray() for vectors in (contexts, responses)]


def mrr(contexts: NDArray[np.float32], responses: NDArray[np.float32]) -> float:
    scores = contexts @ responses.T
    ranks = [1 + int((row > row[len(SERVED) + i]).sum()) for i, row in enumerate(scores)]
    return float(np.mean([1 / rank for rank in ranks]))


def test_mrr_of_a_dense_system_equals_ranks_by_its_vectors(
    evaluated: dict[str, dict[str, float]], tiny_encoder: Path
) -> None:
    """By its own vectors, though a sparse one embeds the same texts beside it."""
    expected = mrr(*vectors_of(EncoderSource(str(tiny_encoder), "dense", 16, "fp32")))
    assert evaluated["dense"]["mrr"] == pytest.approx(expected)


def test_mrr_and_sparsity_of_a_sparse_system_equal_counts_on_its_vectors(
    evaluated: dict[str, dict[str, float]], tiny_sparse_encoder: Path
) -> None:
    contexts, responses = vectors_of(EncoderSource(str(tiny_sparse_encoder), "sparse", 16, "fp32"))
    metrics = evaluated["sparse"]

    active = [[set(np.flatnonzero(row)) for row in rows] for rows in (contexts, responses)]
    terms = [float(np.mean([len(row) for row in rows])) for rows in active]

    assert [metrics["context_terms"], metrics["response_terms"]] == pytest.approx(terms)
    # A multiplication of a pair is a term that both have.
    pairs = [len(context & response) for context in active[0] for response in active[1]]
    assert metrics["flops"] == pytest.approx(np.mean(pairs))
    assert metrics["mrr"] == pytest.approx(mrr(contexts, responses))


def test_turns_of_a_context_are_measured_beside_the_ranks_and_not_among_them(tmp_path: Path) -> None:
    rows = example_rows(25, "test")
    rows[0]["context"] = [{"role": "user", "content": text} for text in ("W30!", "w4 w4", "well")]
    write_rows(str(tmp_path / "examples"), rows, EXAMPLES)
    contexts = held_out(str(tmp_path / "examples"), SERVED, "test", ContextSample(2, 1, 0))

    assert (contexts.num_servable, contexts.num_ranked, len(contexts.responses)) == (2, 27, 29)
    # "w30" is served and said; "w4 w4" is the gold response of example 4, and said.
    assert [contexts.responses[column] for column in sorted(contexts.excluded[0])] == ["w30", "w4 w4"]
    assert [contexts.responses[column] for column in contexts.own_turns[0]] == ["W30!", "w4 w4", "well"]
    assert contexts.sampled[0][0] == contexts.gold[0] and not contexts.excluded[0] & set(contexts.sampled[0])


def test_near_copies_of_the_context_come_last_among_the_answers(tmp_path: Path) -> None:
    examples = str(tmp_path / "examples")
    write_rows(examples, example_rows(30, "test"), EXAMPLES)
    copy, answer = "w1 x", "w1 w31 w32 w33 w34 w35"
    contexts = held_out(examples, [copy, answer], "test", ContextSample(2, 25, seed=0))
    assert contexts.contexts[1].endswith("w1")

    bm25 = measure({"test": contexts}, {"bm25": None}, tally=lambda *_: None)["bm25"]["test"]
    assert bm25.metrics["echo@1"][1] == 1.0  # the shorter one scores higher
    assert bm25.answers[1] == [answer, copy]
    assert bm25.best_scores[1] > bm25.best_scores[0] == 0  # no other context has a word of theirs


def test_contexts_with_candidates_of_their_own_are_ranked_among_those() -> None:
    row = {
        "id": "talk-3",
        "messages": [{"role": "user", "content": "hi"}],
        "candidates": [f"answer {number}" for number in range(20)],
        "label": 4,
    }
    selection = response_selection([("a.jsonl:1", row)], context_turns=2)
    assert (selection.conversation_ids, selection.contexts) == (["talk"], ["hi"])
    assert [selection.responses[column] for column in selection.sampled[0][:2]] == ["answer 4", "answer 0"]
    for wrong in (
        {**row, "label": 20},
        {**row, "candidates": ["one"]},
        {"id": "talk-3"},
        ValueError("no JSON"),
    ):
        with pytest.raises(ValueError, match=r"a\.jsonl:2: expected an object with `id`, `messages`, 20 "):
            response_selection([("a.jsonl:1", row), ("a.jsonl:2", wrong)], context_turns=2)
