"""Downloads from a stand-in for Hugging Face's Hub on loopback, by its own client."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from teachers.engines.hub import snapshot
from teachers.engines.weights import check_model, model_folder, pinned_commit, weights_identity

COMMITS = {"main": "a" * 40, "v2": "b" * 40}
FILES = {
    "config.json": b"{}",
    "tokenizer_config.json": b"{}",
    "model.safetensors.index.json": json.dumps({"weight_map": {"one": "model-1.safetensors"}}).encode(),
    "model-1.safetensors": b"weights",
    "pytorch_model.bin": b"the same weights",
    "onnx/model.onnx": b"the same weights",
}


TOKEN = "hf_of_an_account_with_access"


class Hub(ThreadingHTTPServer):
    """Has the models `them/open` and, for those who send the token, `them/gated`."""

    daemon_threads = True

    def __init__(self) -> None:
        self.downloads: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = re.fullmatch(
            r"(/api/models)?/(\w+/\w+)(?:/(revision|tree|resolve)/([^/]+)/?(.*))?",
            self.path.partition("?")[0],
        )
        assert path is not None, self.path
        _, model, kind, revision, name = path.groups()
        commit = COMMITS.get(revision or "main", revision)

        if model not in ("them/open", "them/gated"):
            self._send(404, {"X-Error-Code": "RepoNotFound"})
        elif commit not in COMMITS.values():
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        elif kind == "tree":
            files = [{"type": "file", "path": name, "size": len(FILES[name]), "oid": "0"} for name in FILES]
            self._send(200, {}, json.dumps(files).encode())
        elif kind != "resolve":
            info = {"id": model, "sha": commit, "siblings": [{"rfilename": name} for name in FILES]}
            self._send(200, {}, json.dumps(info).encode())
        elif model == "them/gated" and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._send(403, {"X-Error-Code": "GatedRepo"})
        else:
            if with_body:
                self.server.downloads.append(name)
            headers = {"ETag": f'"{commit[0]}-{name.replace("/", "-")}"', "X-Repo-Commit": commit}
            self._send(200, headers, FILES[name], with_body)

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"", with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The Hub that downloads ask, with an empty cache on this side."""
    cache = str(tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", cache)
    monkeypatch.setenv("HF_HUB_CACHE", cache)
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_model_is_downloaded_once_and_in_one_format(hub: Hub) -> None:
    check_model("them/open")
    folder = Path(model_folder("them/open"))
    assert folder.name == COMMITS["main"] and (folder / "model-1.safetensors").read_bytes() == b"weights"
    assert sorted(hub.downloads) == sorted(name for name in FILES if not name.endswith((".bin", ".onnx")))
    assert weights_identity("them/open") == f"them/open@{COMMITS['main']}"


def test_a_download_that_was_cut_off_goes_on(hub: Hub) -> None:
    folder = snapshot("them/open", None)
    (folder / "model-1.safetensors").unlink()
    hub.downloads.clear()
    assert snapshot("them/open", None) == folder and hub.downloads == []  # its content was there
    (folder / "model-1.safetensors").resolve().unlink()
    (folder / "model-1.safetensors").unlink()
    assert snapshot("them/open", None) == folder and hub.downloads == ["model-1.safetensors"]


def test_a_revision_is_another_model_and_every_machine_uses_its_commit(hub: Hub) -> None:
    check_model("them/open", "v2")
    assert weights_identity("them/open", "v2") == f"them/open@{COMMITS['v2']}"
    assert pinned_commit("them/open", "v2") == COMMITS["v2"]
    # Elsewhere the branch may have moved on.
    assert Path(model_folder("them/open", COMMITS["v2"])).name == COMMITS["v2"]


@pytest.mark.parametrize(
    ("model", "revision", "line"),
    [
        ("them/none", None, "'them/none' is not on Hugging Face, or private: then set HF_TOKEN"),
        ("them/gated", None, "'them/gated' is gated: accept its terms at https://huggingface.co/them/gated"),
        ("them/open", "v3", "'them/open' has no revision 'v3' at https://huggingface.co/them/open"),
    ],
)
def test_what_cannot_be_downloaded_is_one_line(hub: Hub, model: str, revision: str | None, line: str) -> None:
    with pytest.raises(ValueError) as error:
        check_model(model, revision)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def test_a_gated_model_is_downloaded_with_the_token_of_the_environment(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    check_model("them/gated")
    assert (Path(model_folder("them/gated")) / "model-1.safetensors").read_bytes() == b"weights"


def test_without_a_network_it_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ValueError, match="not in the local Hugging Face cache, and was not downloaded: "
    ) as error:
        check_model("them/open")
    assert "\n" not in str(error.value)
