"""Endpoint teachers against a real vLLM server, and against one that fails on purpose."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from teachers.config import EndpointTeacher, GenerateConfig
from teachers.corpora.conversations import Message
from teachers.engines.openai_endpoint import Endpoint
from teachers.engines.protocol import Group, Prompt, TeacherError
from tests.tiny_models import make_teacher

TOLERANCE_NATS_PER_TOKEN = 1e-3
KEY = "sk-test-5f1c9a"
KEY_ENV = "REJOINDER_TEST_KEY"
SERVER_STARTS_IN_S = 400
CONTEXT: list[Message] = [{"role": "user", "content": "hey how are you doing today?"}]
OTHER: list[Message] = [{"role": "user", "content": "do you like music?"}]
CONFIG = GenerateConfig(max_tokens=12)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


def endpoint(base_url: str, **settings: Any) -> Endpoint:
    config = {"model": "tiny", "api_key_env": KEY_ENV, "max_retries": 0, **settings}
    return Endpoint("friend", EndpointTeacher(kind="endpoint", base_url=base_url, **config))


def prompts(number: int) -> list[Prompt]:
    return [Prompt(CONTEXT, "", seed) for seed in range(number)]


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def assert_hidden(key: str, error: BaseException) -> None:
    """Neither a log nor what Ray sends to the driver shows the key."""
    assert key not in "".join(traceback.format_exception(error))
    assert key.encode() not in pickle.dumps(error)


def test_an_unset_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV)
    with pytest.raises(ValueError, match=rf"teachers\.friend\.api_key_env.*{KEY_ENV} is not set"):
        endpoint("http://127.0.0.1:1/v1")


def test_a_key_that_no_header_takes_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, "sk-\u00e9clair")
    with pytest.raises(ValueError, match=KEY_ENV) as raised:
        endpoint("http://127.0.0.1:1/v1")
    assert_hidden("clair", raised.value)


Answer = tuple[int, dict[str, str], dict[str, Any] | str]
GOOD: Answer = (
    200,
    {},
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]},
)


@dataclass
class Seen:
    """What a stand-in for a server saw."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0


def answering(answer: Callable[[dict[str, Any]], Answer]) -> AbstractContextManager[Seen]:
    """A server that answers by the body of a request."""
    return stand_in(lambda _: GOOD, by_body=answer)


@contextmanager
def stand_in(
    answer: Callable[[int], Answer],
    takes_s: float = 0,
    by_body: Callable[[dict[str, Any]], Answer] | None = None,
) -> Iterator[Seen]:
    """A server that answers by the number of earlier requests."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                earlier = len(seen.bodies)
                seen.bodies.append(body)
                seen.times.append(time.monotonic())
                seen.in_flight += 1
                seen.most_in_flight = max(seen.most_in_flight, seen.in_flight)
            time.sleep(takes_s)
            status, headers, content = by_body(body) if by_body else answer(earlier)
            with lock:
                seen.in_flight -= 1
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(content, str) else "application/json")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write((content if isinstance(content, str) else json.dumps(content)).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Seen(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def failing(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, {"error": {"message": message}}


def test_a_server_that_asks_to_wait_is_asked_again() -> None:
    busy = failing(429, headers={"Retry-After": "0"})
    with stand_in(lambda earlier: busy if earlier < 2 else GOOD) as server:
        [sample] = endpoint(server.url, max_retries=2).generate(prompts(1), CONFIG)
    assert sample.text == "hi" and sample.error is None
    assert len(server.bodies) == 3


def test_a_retry_waits_as_long_as_the_server_says() -> None:
    # The client's own first pause is at most 0.5 s.
    busy = failing(503, headers={"Retry-After": "1"})
    with stand_in(lambda earlier: busy if earlier < 1 else GOOD) as server:
        [sample] = endpoint(server.url, max_retries=1).generate(prompts(1), CONFIG)
    assert sample.text == "hi"
    assert server.times[1] - server.times[0] >= 1


def test_a_row_at_which_a_working_server_fails_is_rejected() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return failing(500, f"broken\nby {KEY}") if body["messages"] == CONTEXT else GOOD

    with answering(answer) as server:
        [sample, other] = endpoint(server.url, max_retries=1, concurrency=1).generate(
            [*prompts(1), Prompt(OTHER, "", 0)], CONFIG
        )
    assert (sample.text, sample.truncated) == ("", False)
    assert sample.error == "teachers.friend: Error code: 500 - broken by [key]"
    assert (other.text, other.error) == ("hi", None)
    # Twice, then a known question, twice again, and the other row.
    assert [body["messages"] == CONTEXT for body in server.bodies] == [True, True, False, True, True, False]


def test_a_request_that_a_working_server_never_answers_is_one_row_s_error() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        time.sleep(0.8 if body["messages"] == CONTEXT else 0)
        return GOOD

    with answering(answer) as server:
        [sample] = endpoint(server.url, request_timeout_s=0.4).generate(prompts(1), CONFIG)
    assert sample.error == "teachers.friend: no answer within 0.4 s"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_a_server_s_bad_hour_is_no_row_s_error(status: int) -> None:
    is_down = True

    def answer(_: int) -> Answer:
        return failing(status, f"Come back\nlater, {KEY}") if is_down else GOOD

    with stand_in(answer) as server:
        teacher = endpoint(server.url)
        with pytest.raises(TeacherError) as raised:
            teacher.generate(prompts(20), CONFIG)
        line = str(raised.value)
        assert line.startswith(f"teachers.friend.base_url = {server.url}, model 'tiny': Error code: {status}")
        assert line.endswith("later, [key]; finished batches are kept: run the job again when it answers")
        assert "\n" not in line
        assert_hidden(KEY, raised.value)

        is_down = False
        assert [sample.text for sample in teacher.generate(prompts(2), CONFIG)] == ["hi", "hi"]


def test_a_server_that_answers_nobody_in_time_ends_the_stage() -> None:
    with (
        stand_in(lambda _: GOOD, takes_s=1) as server,
        pytest.raises(
            TeacherError, match=r"^teachers\.friend\.base_url = .*: no answer within 0.2 s; finished"
        ),
    ):
        endpoint(server.url, request_timeout_s=0.2).generate(prompts(1), CONFIG)


def test_a_server_that_refuses_every_conversation_ends_the_stage() -> None:
    with (
        stand_in(lambda _: failing(400, "unknown field `seed`")) as server,
        pytest.raises(TeacherError, match=r"refuses every conversation: .*unknown field `seed`"),
    ):
        endpoint(server.url).generate(prompts(2), CONFIG)


def _roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


def _alternating(body: dict[str, Any]) -> Answer:
    """As a server whose template wants the user to begin, after a system prompt."""
    roles = [role for role in _roles(body) if role != "system"]
    pattern = ["user", "assistant"] * len(roles)
    return GOOD if roles == pattern[: len(roles)] else failing(400, "roles must alternate")


def _without_system(body: dict[str, Any]) -> Answer:
    return failing(400, "System role not supported") if "system" in _roles(body) else _alternating(body)


def _without_empty_turns(body: dict[str, Any]) -> Answer:
    has_empty = any(not message["content"] for message in body["messages"])
    return failing(422, "content must not be empty") if has_empty else _alternating(body)


@pytest.mark.parametrize(
    ("server_answers", "roles"),
    [
        (lambda _: GOOD, ["system", "assistant", "user"]),
        (_alternating, ["system", "user", "assistant", "user"]),
        (_without_system, ["user", "assistant", "user"]),
        (_without_empty_turns, ["system", "user"]),
    ],
)
def test_a_conversation_is_laid_out_as_the_server_takes_it(
    server_answers: Callable[[dict[str, Any]], Answer], roles: list[str]
) -> None:
    turns: list[Message] = [{"role": "assistant", "content": "hello!"}, *CONTEXT]
    with answering(server_answers) as server:
        samples = endpoint(server.url).generate(
            [Prompt(turns, "Be kind.", seed) for seed in range(4)], CONFIG
        )
        assert [(sample.text, sample.error) for sample in samples] == [("hi", None)] * 4
        num_requests = len(server.bodies)
        [body] = [body for body in server.bodies if _roles(body) == roles and body["seed"] == 3][-1:]
        assert body["messages"][-1] == CONTEXT[-1]
    assert num_requests <= 4 + 5 + 4, "a layout is tried once and not for every row"


def test_a_conversation_that_a_server_refuses_for_itself_is_one_row_s_error() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return failing(400, "too long") if body["messages"] == CONTEXT else GOOD

    with answering(answer) as server:
        refused, sample = endpoint(server.url).generate([*prompts(1), Prompt(OTHER, "", 0)], CONFIG)
    assert refused.error == "teachers.friend: Error code: 400 - too long"
    assert sample.text == "hi"


def written(message: Any, finish_reason: str = "stop") -> Answer:
    return 200, {}, {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "you"}]}, "hi you"),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "hi"}]}, "hi"),
        ({"content": None}, ""),
        ({"content": "hi", "reasoning_content": "They greet."}, "hi"),
        ({"content": "<think>They greet.</think>hi"}, "hi"),
        (None, ""),
    ],
)
def test_a_server_s_message_is_read_whatever_its_shape(message: Any, text: str) -> None:
    with stand_in(lambda _: written(message)) as server:
        [sample] = endpoint(server.url).generate(prompts(1), CONFIG)
    assert (sample.text, sample.error) == (text, None)


@pytest.mark.parametrize(
    ("content", "problem"),
    [("hi \ud83d", "expected text, got a lone surrogate"), ({"a": 1}, "expected text as content, got dict")],
)
def test_a_message_that_is_no_text_is_one_row_s_error(content: Any, problem: str) -> None:
    with stand_in(lambda earlier: written({"content": content}) if earlier == 0 else GOOD) as server:
        bad, good = endpoint(server.url, concurrency=1).generate(prompts(2), CONFIG)
    assert str(bad.error).startswith(f"teachers.friend: {problem}")
    assert (good.text, good.error) == ("hi", None)


def test_a_prompt_that_is_no_text_is_one_row_s_error() -> None:
    broken = Prompt([{"role": "user", "content": "hi \ud83d"}], "", 0)
    with stand_in(lambda _: GOOD) as server:
        bad, good = endpoint(server.url).generate([broken, *prompts(1)], CONFIG)
    assert str(bad.error).startswith("teachers.friend: expected text, got a lone surrogate")
    assert good.text == "hi"


def test_a_teacher_that_reasons_is_refused_unless_it_is_told_not_to() -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if body.get("chat_template_kwargs") == {"enable_thinking": False}:
            return GOOD
        return written({"content": None, "reasoning_content": "They greet, so"}, "length")

    with answering(answer) as server:
        with pytest.raises(ValueError, match=r"^teachers\.friend: its sample ends within its reasoning"):
            endpoint(server.url).check()
        assert "writes 'hi'" in endpoint(server.url, chat_template_kwargs={"enable_thinking": False}).check()


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refusal_of_every_row_alike_stops_the_job_without_showing_the_key(status: int) -> None:
    with stand_in(lambda _: failing(status, f"Incorrect API key provided: {KEY}.")) as server:
        with pytest.raises(TeacherError, match=rf"teachers\.friend\.base_url = {server.url}") as raised:
            endpoint(server.url, max_retries=3, concurrency=1).generate(prompts(20), CONFIG)
        assert f"{status} - Incorrect API key provided: [key]." in str(raised.value)
        assert_hidden(KEY, raised.value)
        assert len(server.bodies) == 1


def test_an_address_without_a_server_stops_the_job() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(TeacherError, match=rf"teachers\.friend\.base_url = {url}.*refused"):
        endpoint(url).generate(prompts(2), CONFIG)


def test_an_address_that_is_a_web_page_stops_the_job() -> None:
    with (
        stand_in(lambda _: (200, {}, "<html>Welcome</html>")) as server,
        pytest.raises(TeacherError, match=r"teachers\.friend\.base_url.*no OpenAI-compatible server"),
    ):
        endpoint(server.url).generate(prompts(1), CONFIG)


def test_no_more_requests_are_in_flight_than_configured() -> None:
    with stand_in(lambda _: GOOD, takes_s=0.1) as server:
        samples = endpoint(server.url, concurrency=3).generate(prompts(12), CONFIG)
    assert len(samples) == 12
    assert server.most_in_flight == 3


def test_a_request_holds_the_system_prompt_and_the_settings() -> None:
    with stand_in(lambda _: GOOD) as server:
        teacher = endpoint(server.url, api_key_env=None, concurrency=1)
        teacher.generate([Prompt(CONTEXT, "Be nice.", 7), Prompt(CONTEXT, "", 8)], CONFIG)
    settings = {"model": "tiny", "n": 1, "temperature": 0.8, "top_p": 0.95, "max_tokens": 12}
    system = {"role": "system", "content": "Be nice."}
    assert server.bodies == [
        {**settings, "seed": 7, "messages": [system, *CONTEXT]},
        {**settings, "seed": 8, "messages": CONTEXT},
    ]


def test_a_server_without_prompt_logprobs_is_to_write_only(folder: Path) -> None:
    reply: Answer = (200, {}, {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]})
    with (
        stand_in(lambda _: reply) as server,
        pytest.raises(
            TeacherError, match=r"teachers\.friend\.tokenizer: .*remove `tokenizer` to only generate"
        ),
    ):
        endpoint(server.url, tokenizer=str(folder)).check()
