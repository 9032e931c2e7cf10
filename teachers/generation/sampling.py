"""Teachers write responses: the requests for samples, and the worker's task that makes them."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import pyarrow as pa

from teachers.config import GenerateConfig, Writer
from teachers.engines.protocol import Generation, Prompt, Teacher
from teachers.inference.missing_rows import Planned, RequestedKeys
from teachers.inference.store import Row, content_key
from teachers.inference.tasks import Task
from teachers.inference.work_files import write_work
from teachers.records import MESSAGE, SAMPLES

SAMPLE_REQUESTS = pa.schema(
    [
        ("key", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("system_prompt", pa.string()),
        ("seed", pa.int64()),
    ]
)


def plan_samples(
    contexts: Iterable[Row], teacher: Writer, config: GenerateConfig, store_uri: str, work_uri: str
) -> Planned:
    """Write the work that makes the samples of `contexts` by `config` that the store lacks.

    `contexts` are rows of EXAMPLES, iterated more than once.
    """
    with RequestedKeys(row["key"] for row in sample_requests(contexts, teacher, config)) as keys:
        requests = zip(sample_requests(contexts, teacher, config), keys.missing(store_uri), strict=True)
        write_work(work_uri, _missing_only(requests), SAMPLE_REQUESTS, samples_in_a_batch(config))
        return keys.planned(store_uri)


def planned_samples(
    contexts: Iterable[Row], teacher: Writer, config: GenerateConfig, store_uri: str
) -> Planned:
    """Return how many samples of `contexts` the store lacks, and how many it has."""
    with RequestedKeys(row["key"] for row in sample_requests(contexts, teacher, config)) as keys:
        return keys.planned(store_uri)


def _missing_only(requests: Iterable[tuple[Row, bool]]) -> Iterator[Row]:
    for row, is_missing in requests:
        if is_missing:
            yield row


def samples_in_a_batch(config: GenerateConfig) -> int:
    """Return the samples of a batch; `config.batch_size` counts contexts."""
    return config.batch_size * config.samples


def sample_requests(contexts: Iterable[Row], teacher: Writer, config: GenerateConfig) -> Iterator[Row]:
    """Yield `config.samples` rows of work for each of `contexts` (rows of EXAMPLES).

    Sample number i is the same whatever the number of samples, so that raising it requests the new ones only.
    """
    for example in contexts:
        yield from _requests_for(example["context"], teacher, config)


def _requests_for(context: list[dict[str, str]], teacher: Writer, config: GenerateConfig) -> list[Row]:
    system_prompts = [teacher.system_prompt, *teacher.prompt_variants]

    requests: list[Row] = []
    for number in range(config.samples):
        system_prompt = system_prompts[number % len(system_prompts)]
        requests.append(sample_request(context, system_prompt, number, config))
    return requests


def sample_request(
    context: list[dict[str, str]], system_prompt: str, number: int | str, config: GenerateConfig
) -> Row:
    """Return a row of work: the sample of that number, or name."""
    key = content_key(context, system_prompt, number)
    seed = int(content_key(config.seed, key)[:8], 16)
    return {"key": key, "context": context, "system_prompt": system_prompt, "seed": seed}


class StoredSamples:
    """(example_id, its samples in order) of each of `contexts`, rows of EXAMPLES; all are in the store."""

    def __init__(
        self, samples_uri: str, contexts: Iterable[Row], teacher: Writer, config: GenerateConfig
    ) -> None:
        self._uri, self._contexts, self._teacher, self._config = samples_uri, contexts, teacher, config

    def __iter__(self) -> Iterator[tuple[str, list[Generation]]]:
        requests = sample_requests(self._contexts, self._teacher, self._config)
        with RequestedKeys(row["key"] for row in requests) as keys:
            rows = keys.rows(self._uri)
            for example in self._contexts:
                samples = islice(rows, self._config.samples)
                yield example["example_id"], [_generation(row) for row in samples]


def sampling(config: GenerateConfig) -> Task:
    """Return the task of making samples."""
    return Task(
        "writes",
        "samples",
        SAMPLE_REQUESTS,
        SAMPLES,
        partial(_sample, config=config),
        _rejected_rows,
        max_tokens=config.max_tokens,
    )


def _sample(teacher: Teacher, rows: list[Row], config: GenerateConfig) -> list[Row]:
    prompts = [Prompt(row["context"], row["system_prompt"], row["seed"]) for row in rows]
    generations = teacher.generate(prompts, config)
    return [_row(row["key"], generation) for row, generation in zip(rows, generations, strict=True)]


def _rejected_rows(row: Row, error: str) -> list[Row]:
    return [_row(row["key"], Generation("", truncated=False, error=error))]


def _row(key: str, generation: Generation) -> Row:
    if generation.error is not None:
        return {"key": key, "text": None, "truncated": None, "error": generation.error}
    return {"key": key, "text": generation.text, "truncated": generation.truncated, "error": None}


def _generation(row: Row | None) -> Generation:
    assert row is not None, "a sample is not in the store"
    return Generation(row["text"] or "", bool(row["truncated"]), row["error"])
