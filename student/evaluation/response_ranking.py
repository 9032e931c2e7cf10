"""Rank of the gold response on held-out conversations. C contexts, N responses, D dimensions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.encoders.embedding import Tally, texts_to_vectors_of_each
from student.encoders.encoder import EncoderSource, Side, Vectors, inner_products
from student.evaluation.abstention import quality_by_coverage
from student.evaluation.bm25 import RESPONSE_BM25, bm25_scores
from student.evaluation.held_out import ContextSample, HeldOut, held_out
from student.evaluation.metrics import sparsity_metrics
from student.evaluation.ranking import (
    candidate_metrics_by_context,
    ranking_metrics_by_context,
    without_excluded,
)
from student.evaluation.word_model import WordModel
from student.retrieval.reranking import Ranker, Reranked, encoders_of, reranked
from teachers.dataset import read_rows, write_rows
from teachers.records import MEASURED
from teachers.texts import is_near_copy

_NUM_ANSWERS = 3
_NUM_READ = 20  # contexts whose answers are kept to be read
_SPARE_ANSWERS = 16  # ranked beside them, in the place of near copies
_CONTEXTS_PER_BLOCK = 64  # bounds memory: a block has the scores of all responses


@dataclass(frozen=True)
class Measurement:
    """One system on one HeldOut."""

    metrics: dict[str, NDArray[np.float64]]
    """Metric -> [C]"""
    answers: list[list[str]]
    """[C, up to 3], the best of the response set as a responder answers; empty where there is none"""
    best_scores: NDArray[np.float64]
    """[C], of the first answers; NaN where there is none"""
    sparsity: dict[str, float]
    """A sparse system's `context_terms`, `response_terms` and `flops`, of these texts."""


@dataclass(frozen=True)
class StudentEvaluation:
    """BM25 and several encoders on the test contexts."""

    means: dict[str, dict[str, float]]
    """System -> mean over contexts of each metric of `measure`, and counts"""
    coverage: dict[str, list[dict[str, float]]]
    """System -> its quality against its coverage, see `quality_by_coverage`"""
    reading: list[dict[str, Any]]
    """The first contexts: `context`, `gold_response` and `answers`, encoder -> row of RESPONSE_SET"""


def measure(
    sets: Mapping[str, HeldOut], models: Mapping[str, Ranker | None], tally: Tally
) -> dict[str, dict[str, Measurement]]:
    """Return model -> set -> its measurement; None instead of a model is BM25.

    A set with a response set has `hits@1/20` of the 20 sampled candidates and, of the rank among all
    responses, `mrr`, `recall@1`, `recall@10`, `recall@100` and `ndcg@10`; another has `hits@1/20` and `mrr`
    of the 20. What a conversation has already said is not ranked.

    With a response set, the echo metrics tell how a system scores what it may not answer: `hits@1/20+own`
    has the context's own turns among the candidates, `own_turn@1` is the share of contexts in which such a
    turn scores at least as high as every response of the set, and `echo@1` the share in which the best
    response is a near copy of a turn.

    Raises:
        ValueError: a model's scores are NaN; names the model.
    """
    vectors = _embed_sets(sets, models, tally)

    measurements: dict[str, dict[str, Measurement]] = {}
    for name, ranker in models.items():
        measurements[name] = {}
        for set_name, contexts_of_set in sets.items():
            try:
                if ranker is None:
                    measured = _measure_scores(_bm25_blocks(contexts_of_set), contexts_of_set, {})
                else:
                    encoded = [vectors[source][set_name] for source in encoders_of(ranker)]
                    measured = measure_vectors(ranker, encoded, contexts_of_set)
            except ValueError as error:
                raise ValueError(f"{name}, {set_name}: {error}") from None
            measurements[name][set_name] = measured
    return measurements


def measure_vectors(
    ranker: Ranker, encoded: Sequence[tuple[Vectors, Vectors]], held_out_set: HeldOut
) -> Measurement:
    """Return the measurement of a ranker by its encoders' vectors [C, D] and [N, D] of a set."""
    contexts, responses = encoded[0]
    blocks, sparsity = _vector_blocks(contexts, responses), {}
    if isinstance(ranker, Reranked):
        similarities = _vector_blocks(*encoded[1])
        # A set without a response set has its candidates for one.
        num_responses = held_out_set.num_servable or held_out_set.num_ranked
        blocks = _reranked_blocks(blocks, similarities, ranker.depth, num_responses)
    elif ranker.kind == "sparse":
        sparsity = sparsity_metrics(contexts, responses[: held_out_set.num_ranked])
    return _measure_scores(blocks, held_out_set, sparsity)


def _embed_sets(
    sets: Mapping[str, HeldOut], models: Mapping[str, Ranker | None], tally: Tally
) -> dict[EncoderSource, dict[str, tuple[Vectors, Vectors]]]:
    """Return encoder -> set -> vectors of its contexts [C, D] and responses [N, D]."""
    rankers = [ranker for ranker in models.values() if ranker is not None]
    encoders = list(dict.fromkeys(source for ranker in rankers for source in encoders_of(ranker)))
    if not encoders:
        return {}
    texts: dict[Side, list[str]] = {"context": [], "response": []}
    for contexts_of_set in sets.values():
        texts["context"] += contexts_of_set.contexts
        texts["response"] += contexts_of_set.responses
    embedded = texts_to_vectors_of_each(texts, encoders, tally)

    by_encoder: dict[EncoderSource, dict[str, tuple[Vectors, Vectors]]] = {}
    for source, vectors in zip(encoders, embedded, strict=True):
        by_encoder[source] = {}
        context_start = response_start = 0
        for set_name, contexts_of_set in sets.items():
            context_end = context_start + len(contexts_of_set.contexts)
            response_end = response_start + len(contexts_of_set.responses)
            by_encoder[source][set_name] = (
                vectors["context"][context_start:context_end],
                vectors["response"][response_start:response_end],
            )
            context_start, response_start = context_end, response_end
    return by_encoder


def write_measured(
    output_uri: str, sets: Mapping[str, HeldOut], measurements: Mapping[str, Mapping[str, Measurement]]
) -> None:
    """Write MEASURED, a row for each model, set and context."""
    rows = []
    for model, by_set in measurements.items():
        for set_name, measurement in by_set.items():
            contexts = sets[set_name]
            ids = zip(contexts.example_ids, contexts.conversation_ids, strict=True)
            for number, (example_id, conversation_id) in enumerate(ids):
                metrics = []
                for metric, values in measurement.metrics.items():
                    metrics.append((metric, float(values[number])))
                rows.append(
                    {
                        "set": set_name,
                        "model": model,
                        "example_id": example_id,
                        "conversation_id": conversation_id,
                        "metrics": metrics,
                        "answers": measurement.answers[number],
                    }
                )
    write_rows(output_uri, rows, MEASURED)


def _measure_scores(
    blocks: Iterable[NDArray[np.float32]], contexts: HeldOut, sparsity: dict[str, float]
) -> Measurement:
    """Return the measurement of scores [C, N], which come in blocks of contexts."""
    metrics: dict[str, list[NDArray[np.float64]]] = {}
    answers: list[list[str]] = []
    best_scores: list[float] = []
    for block in blocks:
        rows = slice(len(answers), len(answers) + len(block))
        if contexts.num_servable:
            ranked = without_excluded(block[:, : contexts.num_ranked], contexts.excluded[rows])
            order = np.argsort(-ranked[:, : contexts.num_servable], axis=1, kind="stable")
            for row, columns, turns in zip(ranked, order, contexts.own_turns[rows], strict=True):
                best = _best_columns(columns, turns, contexts.responses)
                answers.append([contexts.responses[column] for column in best])
                best_scores.append(float(row[best[0]]))
            block_metrics = ranking_metrics_by_context(ranked, contexts.gold[rows], contexts.sampled[rows])
            block_metrics |= _echo_metrics(block, ranked, contexts, rows, block_metrics["hits@1/20"])
        else:
            answers.extend([] for _ in block)
            best_scores.extend(np.nan for _ in block)
            candidates = np.take_along_axis(block, np.array(contexts.sampled[rows]), axis=1)  # [C, 20]
            block_metrics = candidate_metrics_by_context(candidates, [0] * len(block))

        for name, values in block_metrics.items():
            metrics.setdefault(name, []).append(values)

    by_context = {name: np.concatenate(values) for name, values in metrics.items()}
    return Measurement(by_context, answers, np.array(best_scores), sparsity)


def _best_columns(columns: NDArray[np.int64], turns: Sequence[int], responses: Sequence[str]) -> list[int]:
    """Return the best of `columns`, best first, near copies of the context's `turns` last."""
    ranked: list[int] = columns[: _NUM_ANSWERS + _SPARE_ANSWERS].tolist()
    own_texts = [responses[turn] for turn in turns]
    return sorted(ranked, key=lambda column: is_near_copy(responses[column], own_texts))[:_NUM_ANSWERS]


def _echo_metrics(
    scores: NDArray[np.float32],
    ranked: NDArray[np.float32],
    contexts: HeldOut,
    rows: slice,
    hits: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Return the echo metrics, each [C], of the contexts `rows`; see `measure`.

    `scores` [C, N] are of all columns, `ranked` [C, N'] of those that ranks are among.
    """
    own_turns = contexts.own_turns[rows]
    own_best = np.array([row[columns].max() for row, columns in zip(scores, own_turns, strict=True)])
    gold_scores = scores[np.arange(len(scores)), contexts.gold[rows]]
    servable = ranked[:, : contexts.num_servable]

    echoes = []
    for column, columns in zip(servable.argmax(axis=1), own_turns, strict=True):
        turns = [contexts.responses[turn] for turn in columns]
        echoes.append(is_near_copy(contexts.responses[column], turns))
    return {
        "hits@1/20+own": hits * (gold_scores > own_best),
        "own_turn@1": (own_best >= servable.max(axis=1)).astype(np.float64),
        "echo@1": np.array(echoes, np.float64),
    }


def _vector_blocks(contexts: Vectors, responses: Vectors) -> Iterator[NDArray[np.float32]]:
    """Yield the inner products [C, N], some contexts at a time."""
    for start in range(0, contexts.shape[0], _CONTEXTS_PER_BLOCK):
        yield inner_products(contexts[start : start + _CONTEXTS_PER_BLOCK], responses)


def _reranked_blocks(
    blocks: Iterator[NDArray[np.float32]],
    similarities: Iterator[NDArray[np.float32]],
    depth: int,
    num_responses: int,
) -> Iterator[NDArray[np.float32]]:
    """Yield the scores [C, N] of the re-ranking, some contexts at a time."""
    for block, similar in zip(blocks, similarities, strict=True):
        rows = zip(block, similar, strict=True)
        yield np.stack([reranked(scores, others, depth, num_responses) for scores, others in rows])


def _bm25_blocks(contexts: HeldOut) -> Iterator[NDArray[np.float32]]:
    """Yield the BM25 scores [C, N], some contexts at a time."""
    scores = bm25_scores(contexts.responses, contexts.contexts, RESPONSE_BM25)
    while block := list(islice(scores, _CONTEXTS_PER_BLOCK)):
        yield np.stack(block)


def evaluate_student(
    examples_uri: str,
    response_set_uri: str,
    models: Mapping[str, Ranker],
    sample: ContextSample,
    tally: Tally,
) -> StudentEvaluation:
    """Measure BM25 and `models` on the test contexts of `sample`.

    Raises:
        ValueError: see `held_out`.
    """
    response_set = {row["text"]: row for row in read_rows(response_set_uri)}
    contexts = held_out(examples_uri, list(response_set), "test", sample)
    measurements = measure({"test": contexts}, {"bm25": None, **models}, tally)

    means: dict[str, dict[str, float]] = {}
    coverage: dict[str, list[dict[str, float]]] = {}
    cross_entropies = contexts.cross_entropies(WordModel.from_texts(contexts.servable()))
    for name, by_set in measurements.items():
        measurement = by_set["test"]
        coverage[name] = quality_by_coverage(cross_entropies, measurement.metrics["hits@1/20"])
        means[name] = {}
        for metric, values in measurement.metrics.items():
            means[name][metric] = float(values.mean())
        means[name] |= measurement.sparsity
        means[name] |= {
            "contexts": float(len(contexts.contexts)),
            "responses": float(contexts.num_ranked),
        }

    reading = []
    for number, row in enumerate(read_rows(examples_uri, "test")[: min(_NUM_READ, sample.num_contexts)]):
        answers: dict[str, dict[str, Any]] = {}
        for name in models:
            answers[name] = response_set[measurements[name]["test"].answers[number][0]]
        reading.append({"context": row["context"], "gold_response": row["gold_response"], "answers": answers})
    return StudentEvaluation(means, coverage, reading)
