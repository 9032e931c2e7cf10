"""Teachers score candidates: a Ray Data pipeline of vLLM actors for one teacher."""

from typing import Any

import pyarrow as pa
import ray.data
from ray.data.expressions import col

from teachers.config import ScoreConfig, TeacherConfig
from teachers.generation import checked_engine, run_teacher
from teachers.records import SCORES

Pair = tuple[list[int], list[int]]


class Scorer:
    """Ray Data actor: rows of CANDIDATES in, rows of SCORES out."""

    def __init__(self, name: str, teacher: TeacherConfig, check_uri: str) -> None:
        self._engine = checked_engine(name, teacher, check_uri)
        # Retrieved and random candidates come back under many contexts, with the same prior.
        self._priors: dict[str, float] = {}

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = batch.to_pylist()
        scored: list[dict[str, Any]] = []
        pairs: list[Pair] = []
        for row in rows:
            texts = [candidate["text"] for candidate in row["candidates"]]
            try:
                found, error = self._pairs(row["context"], texts), None
            except ValueError as problem:
                found, error = [], str(problem)
            pairs.extend(found)
            scored.append({"example_id": row["example_id"], "texts": texts, "found": found, "error": error})
        self._learn_priors([text for row in scored if row["found"] for text in row["texts"]])
        values = iter(self._engine.log_likelihoods(pairs))
        for row in scored:
            texts, found = row.pop("texts"), row.pop("found")
            missing: list[None] = [None] * len(texts)
            row["log_likelihood"] = [next(values) for _ in found] or missing
            row["prior"] = [self._priors[text] for text in texts] if found else missing
            row["tokens"] = [len(response) for _, response in found] or missing
            row["bytes"] = [len(text.encode()) for text in texts]
        return pa.Table.from_pylist(scored, schema=SCORES)

    def _pairs(self, context: list[dict[str, str]], texts: list[str]) -> list[Pair]:
        prompt_format = self._engine.format
        prompt = prompt_format.context(context)
        longest = self._engine.config.max_model_tokens - 1
        pairs = [(prompt, prompt_format.response(text)) for text in texts]
        for _, response in pairs:
            if len(prompt) + len(response) > longest:
                raise ValueError(f"context and a candidate are longer than {longest} tokens")
        return pairs

    def _learn_priors(self, texts: list[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._priors]
        prompt = self._engine.format.context([])
        pairs = [(prompt, self._engine.format.response(text)) for text in new]
        self._priors.update(zip(new, self._engine.log_likelihoods(pairs), strict=True))


def write_scores(
    candidates_uri: str,
    output_uri: str,
    check_uri: str,
    name: str,
    teacher: TeacherConfig,
    config: ScoreConfig,
) -> None:
    """Writes SCORES for every row of CANDIDATES that is `for_teachers`, by one teacher."""
    run_teacher(
        ray.data.read_parquet(candidates_uri).filter(expr=col("for_teachers")),
        Scorer,
        (name, teacher, check_uri),
        teacher,
        config.batch_size,
        output_uri,
    )
