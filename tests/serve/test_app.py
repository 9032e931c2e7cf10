"""The application behind a running Ray Serve, over HTTP and by OpenAI's client."""

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
from serve.index import load_index
from serve.indexing import write_index
from student.encoders.encoder import EncoderSource
from teachers.texts import response_id
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
    body: dict[str, Any] = answer.json()
    return body


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
    # k above the number of responses returns all of them.
    assert len(respond(client, k=10)["responses"]) == 4


def test_a_grounded_generator_is_shown_the_best_text(client: httpx.Client) -> None:
    best = client.post("/search", json={"messages": HELLO, "k": 1}).json()["documents"][0]["text"]
    generated = client.post("/generate", json={"messages": HELLO}).json()
    assert generated["answer"] == f"system: Be brief. | user: {grounded_in(best, 'hello')}"
    assert (generated["grounded_in"], generated["version"]) == (best, client.get("/health").json()["version"])

    # The newest three turns are sent.
    response = {"role": "assistant", "content": "hi"}
    conversation = [*HELLO, response, *HELLO, response, *HELLO]
    answer = client.post("/generate", json={"messages": conversation}).json()["answer"]
    assert answer.startswith("system: Be brief. | user: hello | assistant: hi | user: Text: ")

    refused = client.post("/generate", json={"messages": [{"role": "user", "content": "refuse"}]})
    assert (refused.status_code, refused.json()) == (502, {"detail": "the generator answered 503"})
    assert client.post("/generate", json={"messages": []}).status_code == 422


def test_a_generator_does_not_get_the_fallbacks_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REJOINDER_FALLBACK_KEY", "paid")
    config = EndpointConfig(url="http://here/v1", model="m")
    assert ChatEndpoint("fallback", config).headers == {"Authorization": "Bearer paid"}
    assert ChatEndpoint("generator", config).headers == {}


def test_responses_come_from_the_requested_sources_only(client: httpx.Client) -> None:
    assert {response["source"] for response in respond(client, sources=["gold"])["responses"]} == {"gold"}


def test_no_answer_comes_with_its_reason(client: httpx.Client) -> None:
    answer = respond(client, min_score=2)
    assert (answer["answer"], answer["responses"]) == (None, [])
    assert "below min_score 2" in answer["reason"]
    answer = respond(client, sources=["added"])
    reason = "there is no response of these sources that the conversation has not said"
    assert (answer["answer"], answer["reason"]) == (None, reason)


def test_candidates_are_scored_like_responses(client: httpx.Client) -> None:
    best = respond(client, k=4)["responses"]
    body = {"messages": HELLO, "candidates": [response["text"] for response in best]}
    scores = client.post("/score", json=body).json()["scores"]
    assert scores == pytest.approx([response["score"] for response in best], abs=1e-5)


def test_a_search_returns_the_nearest_documents_whatever_their_score(
    client: httpx.Client, served_run: Path
) -> None:
    # "hello hello" nearly copies the turn: it comes last as an answer, and in its place as a document.
    best = sorted(respond(client, k=4)["responses"], key=lambda response: -response["score"])[:3]
    answer = client.post("/search", json={"messages": HELLO, "k": 3})
    assert answer.status_code == 200, answer.text

    documents = []
    for response in best:
        score = pytest.approx(response["score"])
        documents.append({"doc_id": response["id"], "text": response["text"], "score": score})
    assert answer.json() == {"documents": documents, "version": version_folder(served_run).name}

    assert client.post("/search", json={"messages": HELLO, "k": 0}).status_code == 422
    assert client.post("/search", json={"messages": []}).status_code == 422


def test_openais_client_reads_an_answer(client: httpx.Client, chat: openai.OpenAI) -> None:
    assert [model.id for model in chat.models.list()] == ["chat"]
    completion = chat.chat.completions.create(model="chat", messages=HELLO, temperature=0.7, max_tokens=5)
    best = respond(client)
    [choice] = completion.choices
    assert (choice.message.role, choice.message.content) == ("assistant", best["answer"])
    assert choice.finish_reason == "stop"
    assert completion.usage.completion_tokens == 0 and completion.usage.prompt_tokens == 3
    assert completion.rejoinder["responses"] == best["responses"]

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
        (json.dumps({"messages": [{"role": "user", "content": " "}]}).encode(), "messages: expected text"),
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


def test_a_huge_body_is_refused_with_or_without_a_content_length(client: httpx.Client) -> None:
    huge = b'{"messages": "' + b"a" * (1 << 20) + b'"}'
    chunks = (huge[start : start + 65536] for start in range(0, len(huge), 65536))
    for content in (huge, chunks):
        answer = client.post("/respond", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == (413, "the body is larger than 1048576 bytes")


def test_the_index_changes_with_the_key_only(client: httpx.Client) -> None:
    for key in (b"", b"Bearer wrong", b"Bearer \xe9", b"Basic " + ADMIN_KEY.encode()):
        answer = client.post("/admin/reload", json={}, headers={"Authorization": key})
        assert answer.status_code == 401


def everywhere(client: httpx.Client, **changes: Any) -> list[dict[str, Any]]:
    """Answers to enough requests that each replica gets some."""
    return [respond(client, **changes) for _ in range(20)]


def served_versions(client: httpx.Client) -> set[str]:
    return {answer["version"] for answer in everywhere(client)}


def test_responses_are_added_and_withdrawn_in_every_replica(client: httpx.Client) -> None:
    change = {"add": ["never cook fish"], "withdraw": [response_id("good night")]}
    answer = client.post("/admin/responses", json=change, headers=ADMIN)
    assert answer.json() == {"responses": 4, "replicas": 2}
    for changed in everywhere(client, k=10):
        texts = {response["text"]: response["source"] for response in changed["responses"]}
        assert texts["never cook fish"] == "added" and "good night" not in texts

    answer = client.post("/admin/responses", json={"withdraw": ["nothing"]}, headers=ADMIN)
    assert (answer.status_code, answer.json()["detail"]) == (404, "withdraw: unknown response 'nothing'")

    back = {"add": ["good night"], "withdraw": [response_id("never cook fish")]}
    assert client.post("/admin/responses", json=back, headers=ADMIN).status_code == 200
    assert {len(restored["responses"]) for restored in everywhere(client, k=10)} == {4}


def test_every_replica_takes_a_new_version_and_goes_back(client: httpx.Client, served_run: Path) -> None:
    old = load_index(version_folder(served_run))
    student = EncoderSource(str(served_run / "student"), "dense", 32, "fp32")
    counts = write_index(old.responses.slice(2), student, str(served_run), IndexConfig(), 4, lambda *_: None)
    new = counts["version"]
    assert served_versions(client) == {old.version}

    answer = client.post("/admin/reload", json={}, headers=ADMIN)
    assert answer.json() == {"version": new, "replicas": 2}
    for answered in everywhere(client):
        assert (answered["version"], len(answered["responses"])) == (new, 2)

    assert client.post("/admin/reload", json={"version": old.version}, headers=ADMIN).status_code == 200
    assert served_versions(client) == {old.version}
    listed = client.get("/admin/versions", headers=ADMIN).json()
    assert listed == {"served": old.version, "versions": sorted([old.version, new])}


def test_a_damaged_version_is_refused_and_the_old_one_stays(client: httpx.Client, served_run: Path) -> None:
    served = client.get("/health").json()["version"]
    damaged = Path(shutil.copytree(served_run / "index" / served, served_run / "index" / "99990101T000000-0"))
    (damaged / "index.faiss").write_bytes(b"nothing")
    try:
        answer = client.post("/admin/reload", json={}, headers=ADMIN)
        assert answer.status_code == 409 and "index.faiss is missing or damaged" in answer.json()["detail"]
        assert served_versions(client) == {served}
    finally:
        shutil.rmtree(damaged)


@pytest.mark.skipif(platform.system() != "Linux", reason="HAProxy is built for Linux")
def test_haproxy_and_replicas_listen_on_loopback_alone(client: httpx.Client) -> None:
    below = psutil.Process().children(recursive=True)
    names = ("haproxy", "ServeReplica")
    servers = [process for process in below if any(name in process.cmdline()[0] for name in names)]
    assert len(servers) >= 3  # an HAProxy from before a reload may still be ending

    for server in servers:
        sockets = [
            connection.laddr for connection in server.net_connections() if connection.status == "LISTEN"
        ]
        if "ServeReplica" in server.cmdline()[0]:
            # The others belong to every worker of Ray, which requires a token there.
            sockets = [socket for socket in sockets if socket.port in REPLICA_PORTS]
        assert {socket.ip for socket in sockets} <= {"127.0.0.1"}, server.cmdline()


def test_requests_are_in_the_logs_where_configured(client: httpx.Client) -> None:
    """tests/serve/test_deploy.py checks that they are nowhere else."""
    answer = respond(client, messages=[{"role": "user", "content": "thanks, fish"}])
    logs = Path(ray._private.worker.global_worker.node.get_session_dir_path()) / "logs/serve"

    lines: list[str] = []
    deadline = time.monotonic() + 30
    while not lines:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        for file in logs.glob("*.log"):
            lines += [line for line in file.read_text().splitlines() if "thanks, fish" in line]

    assert len(lines) == 1 and json.dumps(answer["answer"]) in lines[0]


def test_the_page_loads_nothing_from_other_hosts(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text and "https://" not in page.text


def test_a_run_without_an_index_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete index"):
        build(ServeConfig(run=str(tmp_path)))
