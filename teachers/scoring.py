"""Teachers score candidates: what pairs are wanted, how a worker scores them, and a run's share of them."""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from teachers.config import ScoreConfig, SimilarityTeacher, TeacherConfig
from teachers.records import MESSAGE, PAIR_SCORES, SCORES, read_rows, write_rows
from teachers.store import Row, content_key, stored_rows
from teachers.teacher import Group, PairScore, Teacher
from teachers.worker import Task

_NO_CONTEXT: list[dict[str, str]] = []
# Priors all share one context; a group of them is about as much work as a context's candidates.
_PRIORS_IN_A_GROUP = 16

_WANTED = pa.schema(
    [
        ("key", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("responses", pa.list_(pa.string())),
        ("keys", pa.list_(pa.string())),  # of the pairs
    ]
)


def wanted_pairs(candidates_uri: str, teacher: TeacherConfig, stored: set[str]) -> list[Row]:
    """Rows of work for the pairs that `candidates_uri` asks for and the store has not, by context.

    A generative teacher also scores each response after no context at all: its prior.
    """
    contexts: dict[str, list[dict[str, str]]] = {}
    responses: dict[str, dict[str, str]] = {}
    priors: dict[str, str] = {}
    for row in read_rows(candidates_uri):
        if not row["for_teachers"]:
            continue
        group = content_key(row["context"])
        contexts[group] = row["context"]
        for candidate in row["candidates"]:
            responses.setdefault(group, {})[content_key(row["context"], candidate["text"])] = candidate[
                "text"
            ]
            priors[content_key(_NO_CONTEXT, candidate["text"])] = candidate["text"]
    wanted = [_work(contexts[group], found, stored) for group, found in responses.items()]
    if not isinstance(teacher, SimilarityTeacher):
        items = [(key, text) for key, text in priors.items() if key not in stored]
        wanted += [
            _work(_NO_CONTEXT, dict(items[start : start + _PRIORS_IN_A_GROUP]), stored)
            for start in range(0, len(items), _PRIORS_IN_A_GROUP)
        ]
    return [row for row in wanted if row["keys"]]


def _work(context: list[dict[str, str]], texts: dict[str, str], stored: set[str]) -> Row:
    missing = {key: text for key, text in texts.items() if key not in stored}
    return {
        "key": content_key(context, list(missing)),
        "context": context,
        "responses": list(missing.values()),
        "keys": list(missing),
    }


def scoring(config: ScoreConfig) -> Task:
    """The work of scoring pairs."""
    return Task("scores", "pairs", _WANTED, PAIR_SCORES, partial(_score, config=config), _set_aside)


def _score(teacher: Teacher, rows: list[Row], config: ScoreConfig) -> list[Row]:
    groups = [Group(row["context"], row["responses"]) for row in rows]
    keys = [key for row in rows for key in row["keys"]]
    scores = [score for found in teacher.score(groups) for score in found]
    made = {key: _row(key, score) for key, score in zip(keys, scores, strict=True)}
    # A second time alone, in another order and batch: how much a score depends on its company.
    again = [
        (key, Group(row["context"], [text]))
        for row in reversed(rows)
        for key, text in zip(row["keys"], row["responses"], strict=True)
        if int(key[:8], 16) < config.repeated_share * 2**32 and made[key]["log_likelihood"] is not None
    ]
    for (key, _), [score] in zip(again, teacher.score([group for _, group in again]), strict=True):
        made[key]["repeated"] = score.log_likelihood
    return list(made.values())


def _set_aside(row: Row, error: str) -> list[Row]:
    return [_row(key, PairScore(error=error)) for key in row["keys"]]


def _row(key: str, score: PairScore) -> Row:
    return {
        "key": key,
        "log_likelihood": score.log_likelihood,
        "tokens": score.tokens,
        "similarity": score.similarity,
        "repeated": None,
        "error": score.error,
    }


def write_scores(candidates_uri: str, pairs_uri: str, output_uri: str) -> dict[str, Any]:
    """Writes SCORES: the stored pairs of a run's candidates, aligned with them. Returns counts and noise.

    `noise_nats_per_token` is the largest difference between two scorings of the pairs that were scored twice.
    """
    rows = [row for row in read_rows(candidates_uri) if row["for_teachers"]]
    pairs = {
        row["example_id"]: [content_key(row["context"], candidate["text"]) for candidate in row["candidates"]]
        for row in rows
    }
    priors = {
        candidate["text"]: content_key(_NO_CONTEXT, candidate["text"])
        for row in rows
        for candidate in row["candidates"]
    }
    wanted = {key for keys in pairs.values() for key in keys} | set(priors.values())
    stored = stored_rows(pairs_uri, wanted)
    aligned = []
    for row in rows:
        texts = [candidate["text"] for candidate in row["candidates"]]
        found = [stored[key] for key in pairs[row["example_id"]]]
        aligned.append(
            {
                "example_id": row["example_id"],
                "log_likelihood": [pair["log_likelihood"] for pair in found],
                "prior": [stored.get(priors[text], {}).get("log_likelihood") for text in texts],
                "tokens": [pair["tokens"] for pair in found],
                "bytes": [len(text.encode()) for text in texts],
                "similarity": [pair["similarity"] for pair in found],
            }
        )
    write_rows(output_uri, aligned, SCORES)
    used = list(stored.values())
    errors = sorted({row["error"] for row in used if row["error"] is not None})
    return {
        "contexts": len(rows),
        "pairs": sum(len(keys) for keys in pairs.values()),
        "pairs set aside": sum(row["error"] is not None for row in used),
        "errors": errors[:5],
        **_noise(used),
    }


def _noise(pairs: list[Row]) -> dict[str, float]:
    apart = [
        abs(pair["repeated"] - pair["log_likelihood"]) / pair["tokens"]
        for pair in pairs
        if pair["repeated"] is not None
    ]
    if not apart:
        return {}
    return {"pairs scored twice": len(apart), "noise_nats_per_token": float(np.max(apart))}
