"""A real vLLM engine against transformers on the same tiny model, and against itself."""

import os
import random
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from teachers.config import GenerateConfig, VllmTeacher
from teachers.engines.likelihood import Pair
from teachers.engines.prompts import PromptFormat
from teachers.engines.protocol import Generation, Group, PairScore, Prompt
from teachers.engines.vllm_engine import Engine, alone_on_shared_gpu, tokenizer_mode
from tests.tiny_models import make_teacher

TOLERANCE_NATS_PER_TOKEN = 1e-3
SPOILT_NATS_PER_TOKEN = 0.03
MAX_MODEL_TOKENS = 256
TEXTS = ["i am good, what about you?", "music", "i am good, and you?", "i am good", "", "é ü 😀 no"]
# Contexts of growing length, so that some end exactly on a cache block of 32 tokens.
GROUPS = [Group([{"role": "user", "content": "hey " * words}], TEXTS) for words in range(1, 34, 2)]


@ray.remote(num_cpus=1)
class RunningEngine:
    """The engine in a process of its own, which ends with the test."""

    def __init__(self, folder: str) -> None:
        config = VllmTeacher(
            model=folder, dtype="float32", max_model_tokens=MAX_MODEL_TOKENS, max_sane_loss=20
        )
        self._engine = Engine("tiny", config)

    def score(self, groups: list[Group]) -> list[list[PairScore]]:
        return self._engine.score(groups)

    def score_without_cache(self, groups: list[Group]) -> list[list[PairScore]]:
        self._engine.likelihood.reads_cache = False
        try:
            return self._engine.score(groups)
        finally:
            self._engine.likelihood.reads_cache = True

    def generate(self, prompts: list[Prompt]) -> list[Generation]:
        return self._engine.generate(prompts, GenerateConfig(max_tokens=12))

    def check(self) -> str:
        return self._engine.check()

    def check_with_a_broken_cache(self, num_spoilt: int) -> tuple[str, bool, list[int]]:
        """What the check says, whether the cache is read after it, and how many pairs it scored at a time.

        The cache spoils the scores of the first `num_spoilt` pairs.
        """
        likelihood = self._engine.likelihood
        exact = likelihood.log_likelihoods
        num_pairs: list[int] = []

        def spoilt(pairs: list[Pair]) -> list[float]:
            num_pairs.append(len(pairs))
            values = exact(pairs)
            if likelihood.reads_cache:
                for number, (_, response) in enumerate(pairs[:num_spoilt]):
                    values[number] -= SPOILT_NATS_PER_TOKEN * len(response)
            return values

        likelihood.log_likelihoods = spoilt  # type: ignore[method-assign]
        try:
            return self._engine.check(), likelihood.reads_cache, num_pairs
        finally:
            likelihood.log_likelihoods = exact  # type: ignore[method-assign]
            likelihood.reads_cache = True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teacher"), chat=True, seed=1)


@pytest.fixture(scope="module")
def engine(ray_cluster: None, folder: Path) -> Iterator[ray.actor.ActorHandle]:
    actor = RunningEngine.remote(str(folder))
    yield actor
    ray.kill(actor)


def _values(scores: list[list[PairScore]]) -> list[float]:
    values = [score.log_likelihood for group_scores in scores for score in group_scores]
    assert None not in values
    return [value for value in values if value is not None]


def test_log_likelihoods_equal_those_of_transformers(engine: ray.actor.ActorHandle, folder: Path) -> None:
    scores = ray.get(engine.score.remote(GROUPS))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt_format = PromptFormat("tiny", tokenizer, MAX_MODEL_TOKENS)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for group, group_scores in zip(GROUPS, scores, strict=True):
        prefix = prompt_format.prefix(group.context, VllmTeacher(model="").system_prompt)
        for text, score in zip(group.responses, group_scores, strict=True):
            response = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            with torch.no_grad():
                logits = model(torch.tensor([prefix.ids + response])).logits[0].double()
            rows = logits.log_softmax(-1)[len(prefix.ids) - 1 : -1]
            expected = rows.gather(1, torch.tensor(response)[:, None]).sum().item()
            assert score.tokens == len(response)
            assert score.log_likelihood == pytest.approx(
                expected, abs=TOLERANCE_NATS_PER_TOKEN * len(response)
            )


def test_log_likelihoods_are_those_without_the_cache(engine: ray.actor.ActorHandle) -> None:
    cached = _values(ray.get(engine.score.remote(GROUPS)))
    plain = _values(ray.get(engine.score_without_cache.remote(GROUPS)))
    assert cached == pytest.approx(plain, abs=TOLERANCE_NATS_PER_TOKEN)


def test_log_likelihoods_do_not_depend_on_order_or_batch(engine: ray.actor.ActorHandle) -> None:
    together = ray.get(engine.score.remote(GROUPS))
    order = list(range(len(GROUPS)))
    random.shuffle(order)
    for number in order:
        group = GROUPS[number]
        backwards = Group(group.context, group.responses[::-1])
        [alone] = ray.get(engine.score.remote([backwards]))
        assert _values([alone[::-1]]) == pytest.approx(
            _values([together[number]]), abs=TOLERANCE_NATS_PER_TOKEN
        )


def test_a_response_that_does_not_fit_is_an_error_and_the_others_are_scored(
    engine: ray.actor.ActorHandle,
) -> None:
    context = [{"role": "user", "content": "hey"}]
    [[fitting, long], [hopeless]] = ray.get(
        engine.score.remote(
            [
                Group(context, ["music", "hey " * MAX_MODEL_TOKENS]),
                Group([{"role": "user", "content": "hey " * MAX_MODEL_TOKENS}], ["music"]),
            ]
        )
    )
    assert fitting.error is None and fitting.log_likelihood is not None
    assert "teachers.tiny: context and response are" in str(long.error) and long.log_likelihood is None
    assert "teachers.tiny: the last turn is" in str(hopeless.error)


def test_scoring_gives_up_a_cache_that_changes_scores_and_says_so(engine: ray.actor.ActorHandle) -> None:
    assert "prompt log-probabilities from the prefix cache" in ray.get(engine.check.remote())
    line, reads_cache, _ = ray.get(engine.check_with_a_broken_cache.remote(num_spoilt=60))
    assert "WITHOUT the prefix cache" in line
    assert not reads_cache


def test_one_pair_of_sixty_that_is_a_little_off_does_not_cost_the_cache(
    engine: ray.actor.ActorHandle,
) -> None:
    line, reads_cache, num_pairs = ray.get(engine.check_with_a_broken_cache.remote(num_spoilt=1))
    # 0.03 nats/token at one of 60 pairs: a mean of 0.0005, half of what float32 is allowed.
    [difference] = re.findall(r"from the prefix cache \(without it (\S+) nats/token apart\)", line)
    assert float(difference) == pytest.approx(SPOILT_NATS_PER_TOKEN / 60, rel=0.1)
    assert reads_cache
    assert num_pairs.count(60) == 2, "with the cache and without"


def _prompts(seeds: range) -> list[Prompt]:
    context = [{"role": "user", "content": "hey how are you doing today?"}]
    return [Prompt(context, "Be brief.", seed) for seed in seeds]


def test_samples_are_seeded_one_by_one(engine: ray.actor.ActorHandle) -> None:
    first = ray.get(engine.generate.remote(_prompts(range(4))))
    assert len({generation.text for generation in first}) == 4
    # More samples leave the first ones as they were.
    assert ray.get(engine.generate.remote(_prompts(range(6))))[:4] == first


def test_a_sample_may_be_kept_from_ending_early(engine: ray.actor.ActorHandle) -> None:
    prompts = _prompts(range(200))
    assert not all(sample.truncated for sample in ray.get(engine.generate.remote(prompts)))
    kept = [replace(prompt, min_tokens=12) for prompt in prompts]
    assert all(sample.truncated for sample in ray.get(engine.generate.remote(kept)))


def test_the_system_prompt_is_read(engine: ray.actor.ActorHandle) -> None:
    [one] = _prompts(range(1))
    other = Prompt(one.context, "You are a pirate who sings.", one.seed)
    texts = [sample.text for sample in ray.get(engine.generate.remote([one, other]))]
    assert texts[0] != texts[1]


def test_a_context_that_does_not_fit_is_an_error_beside_samples(engine: ray.actor.ActorHandle) -> None:
    long = Prompt([{"role": "user", "content": "hey " * MAX_MODEL_TOKENS}], "", 0)
    bad, good = ray.get(engine.generate.remote([long, *_prompts(range(1))]))
    assert "the last turn is" in str(bad.error)
    assert good.error is None


@pytest.mark.parametrize(("share", "waits"), [(0.5, True), (1.0, False), (0.0, False)])
def test_engines_that_share_a_gpu_start_one_after_the_other(
    share: float, waits: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = VllmTeacher(model="tiny", num_gpus=share)
    starts = threading.Event()

    def start() -> None:
        with alone_on_shared_gpu(config):
            starts.set()

    other = threading.Thread(target=start)
    with alone_on_shared_gpu(config):
        # vLLM may fork its engine's process, which then has the lock's file open, and lives on.
        child = os.fork()
        if child == 0:
            threading.Event().wait(60)
            os._exit(0)
        other.start()
        assert starts.wait(0.5) is not waits

    try:
        other.join(10)
        assert starts.is_set()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_mistrals_own_tokenizer_is_passed_over_or_refused(tmp_path: Path) -> None:
    assert tokenizer_mode("tiny", tmp_path) == "auto"
    (tmp_path / "tekken.json").touch()
    with pytest.raises(ValueError, match=r"^teachers\.tiny\.model: expected Hugging Face's tokenizer.json"):
        tokenizer_mode("tiny", tmp_path)
    (tmp_path / "tokenizer.json").touch()
    assert tokenizer_mode("tiny", tmp_path) == "hf"
