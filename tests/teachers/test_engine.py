"""A real vLLM engine against transformers on the same tiny model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from transformers import AutoModelForCausalLM

from teachers.config import GenerateConfig, TeacherConfig
from teachers.engine import Engine
from teachers.filters import Generation
from tests.tiny_models import make_teacher

TOLERANCE_NATS_PER_TOKEN = 1e-3
Pair = tuple[list[int], list[int]]


@ray.remote(num_cpus=1)
class RunningEngine:
    """The engine in a process of its own, which ends with the test."""

    def __init__(self, folder: str) -> None:
        self._engine = Engine(
            "tiny", TeacherConfig(model=folder, dtype="float32", max_model_tokens=256, max_sane_loss=20)
        )

    def pairs(self, conversations: list[tuple[list[dict[str, str]], list[str]]]) -> list[Pair]:
        prompt_format = self._engine.format
        return [
            (prompt_format.context(context), prompt_format.response(text))
            for context, texts in conversations
            for text in texts
        ]

    def log_likelihoods(self, pairs: list[Pair]) -> list[float]:
        return self._engine.log_likelihoods(pairs)

    def generate(self, context: list[dict[str, str]], samples: int) -> list[Generation]:
        [found] = self._engine.generate(
            [self._engine.format.context(context)], GenerateConfig(samples=samples, max_tokens=12)
        )
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teacher"), chat=True, seed=1)


@pytest.fixture(scope="module")
def engine(ray_cluster: None, folder: Path) -> Iterator[ray.actor.ActorHandle]:
    actor = RunningEngine.remote(str(folder))
    yield actor
    ray.kill(actor)


def _pairs(engine: ray.actor.ActorHandle) -> list[Pair]:
    texts = ["i am good, what about you?", "music", "i am good, and you?", "", "é ü 😀 no"]
    # Contexts of growing length, so that some end exactly on a cache block of 32 tokens.
    contexts = [[{"role": "user", "content": "hey " * words}] for words in range(1, 34, 2)]
    return ray.get(engine.pairs.remote([(context, texts) for context in contexts]))


def test_log_likelihoods_equal_those_of_transformers(engine: ray.actor.ActorHandle, folder: Path) -> None:
    pairs = _pairs(engine)
    found = ray.get(engine.log_likelihoods.remote(pairs))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for (context, response), value in zip(pairs, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([context + response])).logits[0].double()
        rows = logits.log_softmax(-1)[len(context) - 1 : -1]
        expected = rows.gather(1, torch.tensor(response)[:, None]).sum().item()
        assert abs(value - expected) <= TOLERANCE_NATS_PER_TOKEN * len(response)


def test_log_likelihoods_do_not_depend_on_order_or_on_a_warm_cache(engine: ray.actor.ActorHandle) -> None:
    pairs = _pairs(engine)
    forwards = ray.get(engine.log_likelihoods.remote(pairs))
    backwards = ray.get(engine.log_likelihoods.remote(pairs[::-1]))[::-1]
    assert forwards == pytest.approx(backwards, abs=1e-2)


def test_samples_of_one_context_are_distinct_and_seeded(engine: ray.actor.ActorHandle) -> None:
    context = [{"role": "user", "content": "hey how are you doing today?"}]
    first = ray.get(engine.generate.remote(context, 4))
    assert len({generation.text for generation in first}) == 4
    assert ray.get(engine.generate.remote(context, 4)) == first
