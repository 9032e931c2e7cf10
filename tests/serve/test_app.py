"""The application behind a really running Ray Serve, asked over HTTP and by OpenAI's client."""

import json
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import ray

from serve.chat_endpoint import ChatEndpoint, grounded_in
from serve.config import EndpointConfig, IndexConfig, ServeConfig
from serve.deployment import build
from serve.index import load_index, write_index
from serve.response_set import response_id
from student.encoders.encoder import EncoderSource
from tests.conftest import ADMIN_KEY
from tests.serve.conftest import version_folder

REPLICA_PORTS = range(30_000, 31_000)
HELLO = [{"role": "user", "content": "hello"}]
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


@pytest.fixture(scope="module")
def chat(client: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0)


def respond(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/respond", json={"messages": HELLO, **changes})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_application_answers_over_http(client: httpx.Client, served_run: Path) -> None:
    version = version_folder(served_run).name
    health = {"status": "ok", "responses": 4, "version": version, "generator": "parrot"}
    assert client.get("/health").json() == health
    assert client.get("/ready").json() == {"status": "ready", "version": version}
    answer = respond(client, k=2)
    assert len(answer["responses"]) == 2
    assert answer["answer"] == answer["responses"][0]["text"]
    assert set(answer["responses"][0]) == {"id", "text", "score", "source", "teacher"}
    assert answer["version"] == version
    # More than there are: all of them.
    assert len(respond(client, k=10)["responses"]) == 4


def test_a_generator_writes_with_the_best_text_before_it(client: httpx.Client) -> None:
    best = client.post("/search", json={"messages": HELLO, "k": 1}).json()["documents"][0]["text"]
    said = {"role": "assistant", "content": "hi"}
    conversation = [*HELLO, said, *HELLO, said, *HELLO]  # the newest three turns are sent
    found = client.post("/generate", json={"messages": HELLO}).json()
    assert found["answer"] == f"system: Be brief. | user: {grounded_in(best, 'hello')}"
    assert (found["grounded_in"], found["version"]) == (best, client.get("/health").json()["version"])
    earlier = client.post("/generate", json={"messages": conversation}).json()["answer"]
    assert earlier.startswith("system: Be brief. | user: hello | assistant: hi | user: Text: ")
    refused = client.post("/generate", json={"messages": [{"role": "user", "content": "refuse"}]})
    assert (refused.status_code, refused.json()) == (502, {"detail": "the generator answered 503"})
    assert client.post("/generate", json={"messages": []}).status_code == 422


def test_a_generator_does_not_get_the_fallbacks_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REJOINDER_FALLBACK_KEY", "paid")
    config = EndpointConfig(url="http://here/v1", model="m")
    assert ChatEndpoint("fallback", config).headers == {"Authorization": "Bearer paid"}
    assert ChatEndpoint("generator", config).headers == {}


def test_sources_are_kept_apart(client: httpx.Client) -> None:
    assert {response["source"] for response in respond(client, sources=["gold"])["responses"]} == {"gold"}


def test_no_good_answer_is_said_with_its_reason(client: httpx.Client) -> None:
    answer = respond(client, min_score=2)
    assert (answer["answer"], answer["responses"]) == (None, [])
    assert "below min_score 2" in answer["reason"]
    answer = respond(client, sources=["added"])
    assert (answer["answer"], answer["reason"]) == (None, "there is no response of these sources")


def test_candidates_are_scored_like_responses(client: httpx.Client) -> None:
    best = respond(client, k=4)["responses"]
    body = {"messages": HELLO, "candidates": [response["text"] for response in best]}
    found = client.post("/score", json=body).json()["scores"]
    assert found == pytest.approx([response["score"] for response in best], abs=1e-5)


def test_a_search_finds_what_is_nearest_whatever_its_score(client: httpx.Client, served_run: Path) -> None:
    best = respond(client, k=3)["responses"]
    answer = client.post("/search", json={"messages": HELLO, "k": 3})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "documents": [
            {"doc_id": response["id"], "text": response["text"], "score": pytest.approx(response["score"])}
            for response in best
        ],
        "version": version_folder(served_run).name,
    }
    assert client.post("/search", json={"messages": HELLO, "k": 0}).status_code == 422
    assert client.post("/search", json={"messages": []}).status_code == 422


def test_openais_client_reads_an_answer(client: httpx.Client, chat: openai.OpenAI) -> None:
    assert [model.id for model in chat.models.list()] == ["chat"]
    found = chat.chat.completions.create(model="chat", messages=HELLO, temperature=0.7, max_tokens=5)
    best = respond(client)
    [choice] = found.choices
    assert (choice.message.role, choice.message.content) == ("assistant", best["answer"])
    assert choice.finish_reason == "stop"
    assert found.usage.completion_tokens == 0 and found.usage.prompt_tokens == 3
    assert found.rejoinder["responses"] == best["responses"]

    several = chat.chat.completions.create(model="chat", messages=HELLO, n=3)
    texts = [response["text"] for response in best["responses"][:3]]
    assert [choice.message.content for choice in several.choices] == texts

    none = chat.chat.completions.create(model="chat", messages=HELLO, extra_body={"min_score": 2})
    assert none.choices[0].message.content is None
    assert "below min_score" in none.choices[0].message.refusal


def test_openais_client_reads_a_stream(client: httpx.Client, chat: openai.OpenAI) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    stream = chat.chat.completions.create(
        model="chat", messages=parts, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == respond(client)["answer"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].rejoinder["responses"]
    assert last.choices == [] and last.usage.total_tokens == 3


def test_openais_client_raises_its_own_errors(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"unknown model 'gpt'; expected 'chat'"):
        chat.chat.completions.create(model="gpt", messages=HELLO)
    with pytest.raises(openai.UnprocessableEntityError, match=r"messages\.0\.role"):
        chat.chat.completions.create(model="chat", messages=[{"role": "robot", "content": "hello"}])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{not json", "expected JSON"),
        (b"", "body: Field required"),
        (b"\xff\xfe", "expected JSON"),
        (b"\x00" * 100, "expected JSON"),
        (b'{"messages": ' + b"[" * 100_000, "expected JSON, recursion limit"),
        (b'{"messages": []}', "messages"),
        (b"{}", "messages"),
        (b"[1]", "valid"),
        (json.dumps({"messages": HELLO, "k": 0}).encode(), "k"),
        (json.dumps({"messages": HELLO, "k": 101}).encode(), "k: Input should be less than or equal to 100"),
        (json.dumps({"messages": HELLO, "diversity": 2}).encode(), "diversity"),
        (json.dumps({"messages": HELLO, "sources": ["nobody"]}).encode(), "sources"),
        (json.dumps({"messages": HELLO, "top": 1}).encode(), "top"),
        (b'{"messages": [{"role": "user", "content": "hello"}], "min_score": NaN}', "min_score"),
        (json.dumps({"messages": HELLO * 10_000}).encode(), "messages: List should have at most 1000"),
        (json.dumps({"messages": [{"role": "robot", "content": "hello"}]}).encode(), "messages.0.role"),
        (json.dumps({"messages": [{"role": "user", "content": " "}]}).encode(), "messages.0.content"),
        (json.dumps({"messages": [{"role": "user", "content": "a" * 20_001}]}).encode(), "content"),
        (json.dumps({"messages": [{"role": "system", "content": "hello"}]}).encode(), "messages"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', ""),
    ],
)
def test_a_wrong_request_answers_4xx_with_one_line_that_names_it(
    client: httpx.Client, body: bytes, named: str
) -> None:
    answer = client.post("/respond", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    line = answer.json()["detail"]
    assert named in line and "\n" not in line and len(line) < 300


def test_a_huge_body_is_refused_whether_its_length_is_told_or_not(client: httpx.Client) -> None:
    huge = b'{"messages": "' + b"a" * (1 << 20) + b'"}'
    for content in (huge, (huge[start : start + 65536] for start in range(0, len(huge), 65536))):
        answer = client.post("/respond", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == (413, "the body is larger than 1048576 bytes")


def test_the_index_is_changed_with_the_key_only(client: httpx.Client) -> None:
    for key in (b"", b"Bearer wrong", b"Bearer \xe9", b"Basic " + ADMIN_KEY.encode()):
        answer = client.post("/admin/reload", json={}, headers={"Authorization": key})
        assert answer.status_code == 401


def everywhere(client: httpx.Client, **changes: Any) -> list[dict[str, Any]]:
    """Answers of enough requests for each replica to get some."""
    return [respond(client, **changes) for _ in range(20)]


def test_responses_are_added_and_withdrawn_in_every_replica(client: httpx.Client) -> None:
    change = {"add": ["never cook fish"], "withdraw": [response_id("good night")]}
    answer = client.post("/admin/responses", json=change, headers=ADMIN)
    assert answer.json() == {"responses": 4, "replicas": 2}
    for found in everywhere(client, k=10):
        texts = {response["text"]: response["source"] for response in found["responses"]}
        assert texts["never cook fish"] == "added" and "good night" not in texts
    answer = client.post("/admin/responses", json={"withdraw": ["nothing"]}, headers=ADMIN)
    assert (answer.status_code, answer.json()["detail"]) == (404, "withdraw: unknown response 'nothing'")
    back = {"add": ["good night"], "withdraw": [response_id("never cook fish")]}
    assert client.post("/admin/responses", json=back, headers=ADMIN).status_code == 200
    assert all(len(found["responses"]) == 4 for found in everywhere(client, k=10))


def test_every_replica_takes_a_new_version_and_goes_back(client: httpx.Client, served_run: Path) -> None:
    old = load_index(version_folder(served_run))
    student = EncoderSource(str(served_run / "student"), "dense", 32, "fp32")
    new = write_index(old.responses.slice(2), student, str(served_run), IndexConfig(), 4, lambda *_: None)[
        "version"
    ]
    assert {found["version"] for found in everywhere(client)} == {old.version}
    answer = client.post("/admin/reload", json={}, headers=ADMIN)
    assert answer.json() == {"version": new, "replicas": 2}
    assert {(found["version"], len(found["responses"])) for found in everywhere(client)} == {(new, 2)}
    assert client.post("/admin/reload", json={"version": old.version}, headers=ADMIN).status_code == 200
    assert {found["version"] for found in everywhere(client)} == {old.version}
    found = client.get("/admin/versions", headers=ADMIN).json()
    assert found == {"served": old.version, "versions": sorted([old.version, new])}


def test_a_damaged_version_is_refused_and_the_old_one_stays(client: httpx.Client, served_run: Path) -> None:
    served = client.get("/health").json()["version"]
    damaged = Path(shutil.copytree(served_run / "index" / served, served_run / "index" / "99990101T000000-0"))
    (damaged / "index.faiss").write_bytes(b"nothing")
    try:
        answer = client.post("/admin/reload", json={}, headers=ADMIN)
        assert answer.status_code == 409 and "index.faiss is missing or damaged" in answer.json()["detail"]
        assert {found["version"] for found in everywhere(client)} == {served}
    finally:
        shutil.rmtree(damaged)


@pytest.mark.skipif(platform.system() != "Linux", reason="HAProxy is built for Linux")
def test_haproxy_and_replicas_listen_on_loopback_alone(client: httpx.Client) -> None:
    below = psutil.Process().children(recursive=True)
    names = ("haproxy", "ServeReplica")
    servers = [process for process in below if any(name in process.cmdline()[0] for name in names)]
    assert len(servers) >= 3  # an HAProxy of before it was reloaded may be ending
    for server in servers:
        sockets = [found.laddr for found in server.net_connections() if found.status == "LISTEN"]
        if "ServeReplica" in server.cmdline()[0]:
            # Others are those of every worker of Ray, which asks for a token there.
            sockets = [socket for socket in sockets if socket.port in REPLICA_PORTS]
        assert {socket.ip for socket in sockets} <= {"127.0.0.1"}, server.cmdline()


def test_requests_are_in_the_logs_where_that_is_wanted(client: httpx.Client) -> None:
    """That they are nowhere else is told by tests/serve/test_deploy.py."""
    answer = respond(client, messages=[{"role": "user", "content": "thanks, fish"}])
    logs = Path(ray._private.worker.global_worker.node.get_session_dir_path()) / "logs/serve"
    deadline = time.monotonic() + 30
    while not (
        lines := [line for file in logs.glob("*.log") for line in file.open() if "thanks, fish" in line]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(lines) == 1 and json.dumps(answer["answer"]) in lines[0]


def test_the_page_runs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text and "https://" not in page.text


def test_a_run_without_an_index_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete index"):
        build(ServeConfig(run=str(tmp_path)))
