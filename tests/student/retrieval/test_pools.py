"""Pools and the candidates drawn from them, by a tiny encoder of each kind."""

from pathlib import Path

import numpy as np
import pytest

from student.config import Kind, PoolsConfig
from student.encoders.encoder import EncoderSource, embed_texts, inner_products, load_encoder
from student.evaluation.search.document_search import held_out_questions, mean_run
from student.retrieval.document_vectors import read_vectors, write_vectors
from student.retrieval.pools import (
    EncodedDocuments,
    PoolInputs,
    PoolOutputs,
    pools,
    write_pooled_candidates,
)
from teachers.dataset import read_rows, write_rows
from teachers.records import DOCUMENTS, QUESTIONS, REWRITES

TEXTS = [f"w{i} w{(3 * i + 1) % 40} w{(7 * i + 2) % 40}" for i in range(40)]
DEPTH = 6
QUERIES: list[list[str | None]] = [
    [f"w{3 * i}", f"w{3 * i + 1} w{3 * i + 2}" if i != 2 else None] for i in range(6)
]
RELEVANT = [[i, 39 - i] for i in range(5)] + [[]]
IGNORED = (20, 21)
# A run of another system, which lists two documents for each question.
RUN = [{30 + i: 2.5, i: 0.5} for i in range(6)]


def question(number: int, split: str) -> dict[str, object]:
    return {
        "question_id": f"q{number}",
        "conversation_id": f"q{number}",
        "split": split,
        "context": [{"role": "user", "content": QUERIES[number][0]}],
        "rewrite": None,
        "positives": [f"d{row}" for row in RELEVANT[number]],
        "ignored": [f"d{row}" for row in IGNORED],
    }


@pytest.fixture(params=["dense", "sparse"])
def encoder(request: pytest.FixtureRequest, tiny_encoder: Path, tiny_sparse_encoder: Path) -> EncoderSource:
    kind: Kind = request.param
    return EncoderSource(str(tiny_encoder if kind == "dense" else tiny_sparse_encoder), kind, 16, "fp32")


@pytest.fixture
def encoded(encoder: EncoderSource, tmp_path: Path, ray_cluster: None) -> EncodedDocuments:
    """TEXTS as DOCUMENTS at `documents`, and their vectors."""
    documents = [{"doc_id": f"d{row}", "text": text} for row, text in enumerate(TEXTS)]
    write_rows(str(tmp_path / "documents"), documents, DOCUMENTS)
    counts = write_vectors(str(tmp_path / "documents"), str(tmp_path / "vectors"), encoder, lambda *_: None)
    vectors = read_vectors(str(tmp_path / "vectors"), tmp_path)
    assert counts["documents"] == vectors.shape[0] == len(TEXTS)
    return EncodedDocuments(vectors, encoder)


@pytest.fixture
def inputs(tmp_path: Path) -> PoolInputs:
    """Two teachers with queries, and a run; question 4 is a test question."""
    splits = ["train", "train", "train", "train", "test", "train"]
    questions = [question(number, split) for number, split in enumerate(splits)]
    write_rows(str(tmp_path / "questions"), questions, QUESTIONS)

    rewrites = {}
    for teacher, name in enumerate(("one", "other")):
        rewrites[name] = str(tmp_path / name)
        rows = []
        for number, queries in enumerate(QUERIES):
            if queries[teacher]:
                rows.append({"question_id": f"q{number}", "query": queries[teacher]})
        write_rows(rewrites[name], rows, REWRITES)

    run = {}
    for number, scores in enumerate(RUN):
        run[f"q{number}"] = {f"d{row}": score for row, score in scores.items()}
        run[f"q{number}"]["gone"] = 9.0
    return PoolInputs(str(tmp_path / "questions"), str(tmp_path / "documents"), rewrites, {"run": run})


def test_every_teacher_scores_the_union_of_all_retrieved_and_relevant_documents(
    encoded: EncodedDocuments,
) -> None:
    model = load_encoder(encoded.encoder)
    embedded = embed_texts(model, TEXTS, "response")

    question_pools = list(pools(QUERIES, RELEVANT, encoded, DEPTH, lambda *_: None))
    assert len(question_pools) == len(QUERIES)
    for queries, relevant, pool in zip(QUERIES, RELEVANT, question_pools, strict=True):
        expected = set(relevant)
        for teacher, query in enumerate(queries):
            if query is None:
                assert np.isnan(pool.scores[teacher]).all()
                continue
            all_scores = inner_products(embed_texts(model, [query], "context"), embedded)[0]
            np.testing.assert_allclose(pool.scores[teacher], all_scores[pool.documents], atol=1e-4)
            expected |= set(np.argsort(-all_scores, kind="stable")[:DEPTH].tolist())

        assert set(pool.documents.tolist()) == expected
        np.testing.assert_allclose(pool.mean, np.nanmean(pool.scores, axis=0), rtol=1e-5)
        assert (np.diff(pool.mean) <= 0).all()


def test_a_run_adds_documents_and_scores_but_not_to_the_mean(encoded: EncodedDocuments) -> None:
    for number, pool in enumerate(pools(QUERIES, RELEVANT, encoded, DEPTH, lambda *_: None, [RUN])):
        run_scores = dict(zip(pool.documents.tolist(), pool.scores[2].tolist(), strict=True))
        assert {row: score for row, score in run_scores.items() if not np.isnan(score)} == RUN[number]
        np.testing.assert_allclose(pool.mean, np.nanmean(pool.scores[:2], axis=0), rtol=1e-5)


def test_candidates_are_gold_ones_and_draws_from_the_window_with_each_teachers_scores(
    encoded: EncodedDocuments, inputs: PoolInputs, tmp_path: Path
) -> None:
    scores_uris = {name: str(tmp_path / "scores" / name) for name in inputs.teachers}
    outputs = PoolOutputs(str(tmp_path / "candidates"), scores_uris)
    config = PoolsConfig(depth=DEPTH, negatives=3, first_rank=2, last_rank=7)
    counts = write_pooled_candidates(inputs, encoded, outputs, config, lambda *_: None)
    assert (counts["questions"], counts["questions without a relevant document"]) == (5, 1)

    question_pools = list(pools(QUERIES, RELEVANT, encoded, DEPTH, lambda *_: None, [RUN]))
    teacher_tables = [read_rows(uri) for uri in scores_uris.values()]
    for place, row in enumerate(read_rows(outputs.candidates_uri)):
        number = int(row["example_id"][1:])
        pool = question_pools[number]
        rows = [TEXTS.index(candidate["text"]) for candidate in row["candidates"]]
        num_gold = [candidate["source"] for candidate in row["candidates"]].count("gold")
        assert {candidate["source"] for candidate in row["candidates"][:num_gold]} == {"gold"}

        gold, drawn = set(rows[:num_gold]), rows[num_gold:]
        ranked = [document for document in pool.documents.tolist() if document not in IGNORED]
        assert gold == set(RELEVANT[number] or ranked[:1])
        assert 0 < len(drawn) <= 3 and set(drawn) <= set(ranked[1:7]) - gold

        for teacher, table in enumerate(teacher_tables):
            pool_scores = dict(zip(pool.documents.tolist(), pool.scores[teacher], strict=True))
            similarity = [np.nan if value is None else value for value in table[place]["similarity"]]
            # Relevant documents keep their scores, however well they rank.
            np.testing.assert_allclose(similarity, [pool_scores[document] for document in rows], rtol=1e-6)


def test_the_mean_run_ranks_as_the_pool_without_ignored_documents(
    encoded: EncodedDocuments, inputs: PoolInputs
) -> None:
    questions = held_out_questions(inputs.questions_uri, "test", inputs.rewrites)
    doc_ids = [f"d{row}" for row in range(len(TEXTS))]
    mean_scores = mean_run(doc_ids, encoded, questions, DEPTH, lambda *_: None)["q4"]

    pool = list(pools(QUERIES, RELEVANT, encoded, DEPTH, lambda *_: None))[4]
    ranked_ids = [f"d{row}" for row in pool.documents.tolist() if row not in IGNORED]
    assert [doc_id for doc_id in mean_scores if doc_id in ranked_ids] == [
        doc_id for doc_id in ranked_ids if doc_id in mean_scores
    ]
    run = {"q4": {"d20": 2.0, "d4": 1.0}, "q1": {"d1": 1.0}}
    assert questions.restrict(run) == {"q4": {"d4": 1.0}}


def test_where_no_teacher_has_a_query_a_run_ranks_the_pool(tiny_encoder: Path, tmp_path: Path) -> None:
    vectors = np.eye(6, dtype=np.float32)
    source = EncoderSource(str(tiny_encoder), "dense", 16, "fp32")
    runs = [[{1: 5.0, 3: 1.0}], [{3: 30.0, 4: 10.0}]]
    documents = EncodedDocuments(vectors, source)
    [pool] = pools([[None]], [[0]], documents, 2, lambda *_: None, runs)
    # A document that a run does not list has its lowest score: means of 7.5, 15.5, 5.5 and 5.5.
    assert pool.documents.tolist() == [3, 1, 0, 4]
    np.testing.assert_allclose(pool.mean, [15.5, 7.5, 5.5, 5.5])
    assert np.isnan(pool.scores[0]).all() and pool.scores[1].tolist()[:2] == [1.0, 5.0]
