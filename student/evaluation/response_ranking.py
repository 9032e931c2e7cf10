"""How well systems find the true reply on held-out conversations. C contexts, N responses."""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bm25s
import numpy as np
import pyarrow.fs
from numpy.typing import NDArray

from student.encoders.encoder import (
    EncoderSource,
    Side,
    Tally,
    Vectors,
    inner_products,
    texts_to_vectors_of_each,
)
from student.evaluation.metrics import sparsity_metrics
from student.evaluation.ranking import (
    NUM_CANDIDATES,
    candidate_metrics_by_context,
    ranking_metrics_by_context,
    sample_candidates,
)
from student.text import context_text
from teachers.dataset import open_uri, read_rows, write_rows
from teachers.records import MEASURED

_ANSWERS = 3
_CONTEXTS_AT_A_TIME = 64  # of whom the scores of all responses are in memory


@dataclass(frozen=True)
class HeldOut:
    """Contexts that systems are measured on, and the responses they are ranked among."""

    example_ids: list[str]
    """[C]"""
    conversation_ids: list[str]
    """[C]"""
    contexts: list[str]
    """[C], as the student's text"""
    responses: list[str]
    """[N], distinct; those of the response set first"""
    num_servable: int
    """Of `responses`, how many are of the response set: answers come from these."""
    gold: list[int]
    """[C], columns of the true replies"""
    sampled: list[list[int]]
    """[C, 20], columns of the candidates of hits@1/20, the gold reply first"""


@dataclass(frozen=True)
class Measured:
    """One system on one HeldOut."""

    metrics: dict[str, NDArray[np.float64]]
    """Metric -> [C]"""
    answers: list[list[str]]
    """[C, up to 3], the best of the response set; empty where there is none"""
    sparsity: dict[str, float]
    """A sparse system's `context_terms`, `response_terms` and `flops`, of these texts."""


def held_out(
    examples_uri: str,
    response_set: Sequence[str],
    split: str,
    context_turns: int,
    num_contexts: int,
    seed: int,
) -> HeldOut:
    """Up to `num_contexts` examples of `split`, to be ranked in `response_set` joined by all its replies.

    hits@1/20 ranks the true reply among itself and 19 replies of other examples of the split.

    Raises:
        ValueError: fewer than 20 distinct replies.
    """
    rows = read_rows(examples_uri, split)
    chosen = rows[:num_contexts]
    replies = list(dict.fromkeys(row["gold_response"] for row in rows))
    if len(replies) < NUM_CANDIDATES:
        raise ValueError(f"{len(replies)} distinct {split} replies, {NUM_CANDIDATES} are needed")
    servable = list(dict.fromkeys(response_set))
    responses = list(dict.fromkeys([*servable, *replies]))
    column = {text: number for number, text in enumerate(responses)}
    gold = [column[row["gold_response"]] for row in chosen]
    return HeldOut(
        example_ids=[row["example_id"] for row in chosen],
        conversation_ids=[row["conversation_id"] for row in chosen],
        contexts=[context_text(row["context"], context_turns) for row in chosen],
        responses=responses,
        num_servable=len(servable),
        gold=gold,
        sampled=sample_candidates(gold, [column[reply] for reply in replies], seed),
    )


def response_selection(uri: str, context_turns: int, num_contexts: int) -> HeldOut:
    """Contexts with 20 candidates each out of JSON Lines: `id`, `messages`, `candidates` and `label`.

    There is no response set: the rank is among the row's candidates.

    Raises:
        ValueError: a row is not of this form; the message names its line.
    """
    rows = _selection_rows(uri, num_contexts)
    responses = list(dict.fromkeys(text for row in rows for text in row["candidates"]))
    column = {text: number for number, text in enumerate(responses)}
    sampled = []
    for row in rows:
        gold = row["candidates"][row["label"]]
        others = [text for number, text in enumerate(row["candidates"]) if number != row["label"]]
        sampled.append([column[text] for text in (gold, *others)])
    return HeldOut(
        example_ids=[row["id"] for row in rows],
        conversation_ids=[row["id"].rsplit("-", 1)[0] for row in rows],
        contexts=[context_text(row["messages"], context_turns) for row in rows],
        responses=responses,
        num_servable=0,
        gold=[columns[0] for columns in sampled],
        sampled=sampled,
    )


def _selection_rows(uri: str, num_rows: int) -> list[dict[str, Any]]:
    filesystem, path = open_uri(uri)
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.File:
        raise ValueError(f"{uri}: there is no such file")
    with filesystem.open_input_stream(path, compression=None) as stream:
        content = stream.read()
    lines = (gzip.decompress(content) if path.endswith(".gz") else content).splitlines()
    rows = []
    for number, line in enumerate(lines[:num_rows], start=1):
        try:
            row = json.loads(line)
            fits = len(row["candidates"]) == NUM_CANDIDATES and row["messages"] and row["id"]
            assert fits and 0 <= row["label"] < NUM_CANDIDATES
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            wanted = f"`id`, `messages`, {NUM_CANDIDATES} `candidates` and `label`"
            raise ValueError(f"{uri}:{number}: wanted are {wanted}") from error
        rows.append(row)
    return rows


def measure(
    sets: Mapping[str, HeldOut], models: Mapping[str, EncoderSource | None], tally: Tally
) -> dict[str, dict[str, Measured]]:
    """model -> set -> how it ranks; None instead of a model is BM25.

    A set with a response set has `hits@1/20` of the 20 sampled candidates and, of the rank among all
    responses, `mrr`, `recall@1`, `recall@10`, `recall@100` and `ndcg@10`; another has `hits@1/20` and `mrr`
    of the 20.
    """
    vectors = _embedded(sets, {name: of for name, of in models.items() if of is not None}, tally)
    found: dict[str, dict[str, Measured]] = {}
    for name, source in models.items():
        found[name] = {}
        for key, of in sets.items():
            if source is None:
                found[name][key] = _measured(_bm25_scores(of), of, {})
                continue
            contexts, responses = vectors[name][key]
            sparsity = sparsity_metrics(contexts, responses) if source.kind == "sparse" else {}
            found[name][key] = _measured(_vector_scores(contexts, responses), of, sparsity)
    return found


def _embedded(
    sets: Mapping[str, HeldOut], encoders: Mapping[str, EncoderSource], tally: Tally
) -> dict[str, dict[str, tuple[Vectors, Vectors]]]:
    """encoder -> set -> vectors of its contexts [C, D] and responses [N, D]."""
    if not encoders:
        return {}
    texts: dict[Side, list[str]] = {
        "context": [text for of in sets.values() for text in of.contexts],
        "response": [text for of in sets.values() for text in of.responses],
    }
    embedded = texts_to_vectors_of_each(texts, list(encoders.values()), tally)
    found: dict[str, dict[str, tuple[Vectors, Vectors]]] = {}
    for name, vectors in zip(encoders, embedded, strict=True):
        found[name] = {}
        contexts = responses = 0
        for key, of in sets.items():
            found[name][key] = (
                vectors["context"][contexts : contexts + len(of.contexts)],
                vectors["response"][responses : responses + len(of.responses)],
            )
            contexts += len(of.contexts)
            responses += len(of.responses)
    return found


def write_measured(
    output_uri: str, sets: Mapping[str, HeldOut], found: Mapping[str, Mapping[str, Measured]]
) -> None:
    """Writes MEASURED, a row for each model, set and context."""
    rows = []
    for model, measured_on in found.items():
        for name, measured in measured_on.items():
            of = sets[name]
            for number, (example_id, conversation_id) in enumerate(
                zip(of.example_ids, of.conversation_ids, strict=True)
            ):
                metrics = {metric: float(values[number]) for metric, values in measured.metrics.items()}
                rows.append(
                    {
                        "set": name,
                        "model": model,
                        "example_id": example_id,
                        "conversation_id": conversation_id,
                        "metrics": list(metrics.items()),
                        "answers": measured.answers[number],
                    }
                )
    write_rows(output_uri, rows, MEASURED)


def _measured(scores: Iterable[NDArray[np.float32]], of: HeldOut, sparsity: dict[str, float]) -> Measured:
    """From scores [C, N], some rows at a time."""
    metrics: dict[str, list[NDArray[np.float64]]] = {}
    answers: list[list[str]] = []
    for some in scores:
        rows = slice(len(answers), len(answers) + len(some))
        if of.num_servable:
            best = np.argsort(-some[:, : of.num_servable], axis=1, kind="stable")[:, :_ANSWERS]
            answers += [[of.responses[column] for column in row] for row in best]
            found = ranking_metrics_by_context(some, of.gold[rows], of.sampled[rows])
        else:
            answers += [[] for _ in some]
            candidates = np.take_along_axis(some, np.array(of.sampled[rows]), axis=1)  # [C, 20]
            found = candidate_metrics_by_context(candidates, [0] * len(some))
        for name, values in found.items():
            metrics.setdefault(name, []).append(values)
    return Measured({name: np.concatenate(found) for name, found in metrics.items()}, answers, sparsity)


def _vector_scores(contexts: Vectors, responses: Vectors) -> Iterator[NDArray[np.float32]]:
    for start in range(0, contexts.shape[0], _CONTEXTS_AT_A_TIME):
        yield inner_products(contexts[start : start + _CONTEXTS_AT_A_TIME], responses)


def evaluate_student(
    examples_uri: str,
    response_set_uri: str,
    models: Mapping[str, EncoderSource],
    context_turns: int,
    num_contexts: int,
    seed: int,
    tally: Tally,
) -> dict[str, dict[str, float]]:
    """Means over test examples of what `measure` finds, of BM25 and of each of `models`, and counts.

    Raises:
        ValueError: see `held_out`.
    """
    response_set = [row["text"] for row in read_rows(response_set_uri)]
    of = held_out(examples_uri, response_set, "test", context_turns, num_contexts, seed)
    found = measure({"test": of}, {"bm25": None, **models}, tally)
    counts = {"contexts": float(len(of.contexts)), "responses": float(len(of.responses))}
    return {
        name: {
            **{metric: float(values.mean()) for metric, values in measured["test"].metrics.items()},
            **measured["test"].sparsity,
            **counts,
        }
        for name, measured in found.items()
    }


def _bm25_scores(of: HeldOut) -> Iterator[NDArray[np.float32]]:
    """BM25 [C, N] by bm25s, some contexts at a time."""
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(of.responses, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(of.contexts, return_ids=False, show_progress=False)
    nothing = np.zeros(len(of.responses), np.float32)
    for start in range(0, len(tokens), _CONTEXTS_AT_A_TIME):
        some = tokens[start : start + _CONTEXTS_AT_A_TIME]
        yield np.stack([retriever.get_scores(words) if words else nothing for words in some])
