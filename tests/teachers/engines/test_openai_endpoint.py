"""Endpoint teachers against a real vLLM server."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from serve.ingress import free_port
from teachers.engines.protocol import Group, Prompt, TeacherError
from tests.teachers.engines.endpoints import (
    CONFIG,
    CONTEXT,
    KEY,
    KEY_ENV,
    assert_hidden,
    endpoint,
    prompts,
)
from tests.tiny_models import make_teacher

pytestmark = pytest.mark.usefixtures("key")
TOLERANCE_NATS_PER_TOKEN = 1e-3
SERVER_STARTS_IN_S = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teacher"), chat=True, seed=1)


@pytest.fixture(scope="module")
def vllm_url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a vLLM server that asks for KEY; its process group ends with the tests."""
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    command = (
        f"-m vllm.entrypoints.openai.api_server --model {folder} --served-model-name tiny --api-key {KEY} "
        f"--host 127.0.0.1 --port {port} --dtype float32 --max-model-len 512 --block-size 32 "
        "--enforce-eager --no-enable-chunked-prefill --max-num-batched-tokens 1024"
    )
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, *command.split()],
            env=os.environ | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + SERVER_STARTS_IN_S
        while not is_healthy(port):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
        with suppress(ProcessLookupError):  # where nothing of it is left
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.slow
def test_samples_are_seeded_and_distinct(vllm_url: str) -> None:
    teacher = endpoint(vllm_url)
    first = teacher.generate(prompts(4), CONFIG)
    assert [sample.error for sample in first] == [None] * 4
    assert len({sample.text for sample in first}) == 4
    assert teacher.generate(prompts(4)[::-1], CONFIG)[::-1] == first


@pytest.mark.slow
def test_log_likelihoods_equal_those_of_transformers(vllm_url: str, folder: Path) -> None:
    teacher = endpoint(vllm_url, tokenizer=str(folder), system_prompt="Be nice.")
    texts = ["i am good, what about you?", "music", "i am good, and you?", "", "é ü 😀 no"]
    contexts = [[{"role": "user", "content": "hey " * words}] for words in range(1, 34, 4)]
    # Without a context: the responses' priors.
    groups = [Group(context, texts) for context in [[], *contexts]]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert teacher.format is not None
    for group, scores in zip(groups, teacher.score(groups), strict=True):
        prefix = teacher.format.prefix(group.context, "Be nice.")
        for text, score in zip(texts, scores, strict=True):
            response = teacher.format.response(prefix, text)
            with torch.no_grad():
                logits = model(torch.tensor([prefix.ids + response])).logits[0].double()
            rows = logits.log_softmax(-1)[len(prefix.ids) - 1 : -1]
            expected = rows.gather(1, torch.tensor(response)[:, None]).sum().item()
            assert score.tokens == len(response)
            assert score.log_likelihood is not None
            assert abs(score.log_likelihood - expected) <= TOLERANCE_NATS_PER_TOKEN * len(response)


@pytest.mark.slow
def test_a_teacher_is_used_only_below_its_sane_loss(vllm_url: str, folder: Path) -> None:
    line = endpoint(vllm_url, tokenizer=str(folder), max_sane_loss=20).check()
    assert "nats/token on a known sentence" in line and "'<|im_end|>'" in line
    assert "of 4 known contexts" in line
    # Random weights do worse than guessing among 340 tokens: ln 340 = 5.8.
    with pytest.raises(ValueError, match=r"teachers\.friend: .* more than max_sane_loss = 4"):
        endpoint(vllm_url, tokenizer=str(folder)).check()


@pytest.mark.slow
def test_a_context_that_the_server_refuses_is_one_row_s_error(vllm_url: str) -> None:
    long = Prompt([{"role": "user", "content": "hey " * 2000}], "", 0)
    [refused, sample] = endpoint(vllm_url).generate([long, *prompts(1)], CONFIG)
    assert refused.error is not None and "400" in refused.error and "\n" not in refused.error
    assert sample.error is None


@pytest.mark.slow
def test_oldest_turns_go_where_the_tokenizer_tells_how_many_fit(vllm_url: str, folder: Path) -> None:
    teacher = endpoint(vllm_url, tokenizer=str(folder), max_model_tokens=512, system_prompt="")
    long = [{"role": "user", "content": "hey " * 2000}]
    whole, cut = teacher.generate([Prompt(CONTEXT, "", 0), Prompt(long + CONTEXT, "", 0)], CONFIG)
    assert cut == whole


@pytest.mark.slow
def test_a_wrong_key_stops_the_job_without_being_shown(
    vllm_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, "sk-wrong-77d2")
    with pytest.raises(TeacherError, match=rf"teachers\.friend\.base_url = {vllm_url}.*401") as raised:
        endpoint(vllm_url).generate(prompts(2), CONFIG)
    assert_hidden("sk-wrong-77d2", raised.value)


@pytest.mark.slow
def test_a_model_that_is_not_served_is_named(vllm_url: str) -> None:
    with pytest.raises(TeacherError, match=r"model 'other': .*404"):
        endpoint(vllm_url, model="other").generate(prompts(1), CONFIG)
