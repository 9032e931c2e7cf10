"""Endpoint teachers and a server that fails: whose fault it is, what is tried again, what is not shown."""

import time
from pathlib import Path
from typing import Any

import pytest

from serve.ingress import free_port
from teachers.engines.protocol import Prompt, TeacherError
from tests.teachers.engines.endpoints import (
    CONFIG,
    CONTEXT,
    GOOD,
    KEY,
    KEY_ENV,
    OTHER,
    Answer,
    answering,
    assert_hidden,
    endpoint,
    failing,
    prompts,
    stand_in,
)
from tests.tiny_models import make_teacher

pytestmark = pytest.mark.usefixtures("key")


def test_an_unset_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV)
    with pytest.raises(ValueError, match=rf"teachers\.friend\.api_key_env.*{KEY_ENV} is not set"):
        endpoint("http://127.0.0.1:1/v1")


def test_a_key_that_no_header_takes_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, "sk-\u00e9clair")
    with pytest.raises(ValueError, match=KEY_ENV) as raised:
        endpoint("http://127.0.0.1:1/v1")
    assert_hidden("clair", raised.value)


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


def test_a_server_without_prompt_logprobs_is_to_write_only(tmp_path: Path) -> None:
    folder = make_teacher(tmp_path / "teacher", chat=True, seed=1)
    reply: Answer = (200, {}, {"choices": [{"index": 0, "text": "a", "finish_reason": "length"}]})
    with (
        stand_in(lambda _: reply) as server,
        pytest.raises(
            TeacherError, match=r"teachers\.friend\.tokenizer: .*remove `tokenizer` to only generate"
        ),
    ):
        endpoint(server.url, tokenizer=str(folder)).check()
