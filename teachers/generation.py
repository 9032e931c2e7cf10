"""Teachers write responses: what samples are wanted, and how a worker makes them."""

from functools import partial
from typing import Any

import pyarrow as pa

from teachers.config import GenerateConfig, Writer
from teachers.records import MESSAGE, SAMPLES
from teachers.store import Row, content_key, stored_rows
from teachers.teacher import Generation, Prompt, Teacher
from teachers.worker import Task

_WANTED = pa.schema(
    [
        ("key", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("system_prompt", pa.string()),
        ("seed", pa.int64()),
    ]
)


def wanted_samples(contexts: list[Row], teacher: Writer, config: GenerateConfig) -> list[Row]:
    """`config.samples` rows of work for each of `contexts` (rows of EXAMPLES), each key once.

    Sample number i is the same whatever the number of samples, so that raising it asks for the new ones only.
    """
    wanted = {
        row["key"]: row for example in contexts for row in _wanted_of(example["context"], teacher, config)
    }
    return list(wanted.values())


def _wanted_of(context: list[dict[str, str]], teacher: Writer, config: GenerateConfig) -> list[Row]:
    system_prompts = [teacher.system_prompt, *teacher.prompt_variants]
    rows = []
    for number in range(config.samples):
        system_prompt = system_prompts[number % len(system_prompts)]
        key = content_key(context, system_prompt, number)
        seed = int(content_key(config.seed, key)[:8], 16)
        rows.append({"key": key, "context": context, "system_prompt": system_prompt, "seed": seed})
    return rows


def stored_samples(
    samples_uri: str, contexts: list[Row], teacher: Writer, config: GenerateConfig
) -> dict[str, list[Generation]]:
    """example_id -> its samples, in order; all of them are in the store."""
    keys = {
        example["example_id"]: [row["key"] for row in _wanted_of(example["context"], teacher, config)]
        for example in contexts
    }
    rows = stored_rows(samples_uri, [key for keys_of in keys.values() for key in keys_of])
    return {example_id: [_generation(rows[key]) for key in keys_of] for example_id, keys_of in keys.items()}


def sampling(config: GenerateConfig) -> Task:
    """The work of making samples."""
    return Task("writes", "samples", _WANTED, SAMPLES, partial(_sample, config=config), _set_aside)


def _sample(teacher: Teacher, rows: list[Row], config: GenerateConfig) -> list[Row]:
    prompts = [Prompt(row["context"], row["system_prompt"], row["seed"]) for row in rows]
    return [
        _row(row["key"], found) for row, found in zip(rows, teacher.generate(prompts, config), strict=True)
    ]


def _set_aside(row: Row, error: str) -> list[Row]:
    return [_row(row["key"], Generation("", truncated=False, error=error))]


def _row(key: str, generation: Generation) -> Row:
    if generation.error is not None:
        return {"key": key, "text": None, "truncated": None, "error": generation.error}
    return {"key": key, "text": generation.text, "truncated": generation.truncated, "error": None}


def _generation(row: dict[str, Any]) -> Generation:
    return Generation(row["text"] or "", bool(row["truncated"]), row["error"])
