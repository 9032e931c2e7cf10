"""`serve deploy` with a file on a separate cluster: keys, fallback, versions, metrics, logs."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serve.config import IndexConfig
from serve.gate import ADMIN_KEY, KEY
from serve.index import load_index
from serve.indexing import write_index
from serve.ingress import free_port
from student.encoders.encoder import EncoderSource
from tests.ray_head import BIN, REPOSITORY, RayHead, ray_head, wait
from tests.serve.conftest import version_folder

pytestmark = pytest.mark.slow
SECRET, WORDS = "open sesame", "never told hello"
BODY = {"messages": [{"role": "user", "content": WORDS}]}
KEY_HEADER = {"Authorization": f"Bearer {SECRET}"}
EXAMPLE = REPOSITORY / "configs/serve.yaml"


@dataclass
class Cluster:
    """A head node and the application deployed on it."""

    head: RayHead
    port: int

    def deploy(self, run: Path, version: str | None = None) -> None:
        """Deploy the shipped file for this run, and a second application as the first one's fallback."""
        config = yaml.safe_load(EXAMPLE.read_text())
        config["http_options"]["port"] = self.port
        [chat] = config["applications"]
        chat["deployments"][0]["num_replicas"] = 1

        teacher = yaml.safe_load(yaml.safe_dump(chat)) | {"name": "teacher", "route_prefix": "/teacher"}
        teacher["args"] = {"run": str(run), "replica_cpus": 0.5}
        url = f"http://127.0.0.1:{self.port}/teacher/v1"
        fallback = {"url": url, "model": run.name, "key_variable": KEY}

        chat["args"] = teacher["args"] | {"fallback": fallback, "log_requests": False}
        chat["deployments"][0]["user_config"] = {"version": version}
        config["applications"].append(teacher)

        file = self.head.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config))
        command = [BIN / "serve", "deploy", "-a", self.head.dashboard, str(file)]
        subprocess.run(command, check=True, timeout=120, env=self.head.environment)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Post with the key."""
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.post(url, json=body, headers=KEY_HEADER, timeout=30, trust_env=False)

    def post_conversation(self, path: str = "/respond", **changes: Any) -> httpx.Response:
        """Post BODY with changes."""
        return self.post(path, BODY | changes)


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two versions of an index: the older has four responses, the newer two."""
    run = Path(shutil.copytree(small_run, tmp_path_factory.mktemp("deployed") / "chat"))
    responses = load_index(version_folder(run)).responses
    student = EncoderSource(str(run / "student"), "dense", 32, "fp32")
    write_index(responses.slice(2), student, str(run), IndexConfig(), 4, lambda *_: None)
    return run


@pytest.fixture(scope="module")
def cluster(run: Path) -> Iterator[Cluster]:
    settings = {KEY: SECRET, ADMIN_KEY: SECRET, "RAY_metrics_report_interval_ms": "500"}
    with ray_head(**settings) as head:
        cluster = Cluster(head, free_port())
        cluster.deploy(run)
        wait(
            lambda: (
                cluster.post_conversation().is_success
                and cluster.post_conversation("/teacher/respond").is_success
            )
        )
        yield cluster


def test_the_key_of_the_environment_is_required(cluster: Cluster) -> None:
    url = f"http://127.0.0.1:{cluster.port}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        for path in ("/respond", "/score", "/v1/chat/completions", "/teacher/respond"):
            answer = client.post(path, json=BODY)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/v1/models").status_code == 401
        # Also below a prefix.
        assert client.post("/teacher/admin/reload", json={}).status_code == 401
        for path in ("/", "/health", "/ready", "/teacher/", "/teacher/health"):
            assert client.get(path).status_code == 200


def test_a_fallback_answers_where_no_response_is_good_enough(cluster: Cluster) -> None:
    best = cluster.post_conversation("/teacher/respond").json()["answer"]
    answer = cluster.post_conversation(min_score=2).json()
    assert (answer["answer"], answer["source"], answer["responses"]) == (best, "fallback", [])
    assert "below min_score" in answer["reason"]
    completion = cluster.post_conversation("/v1/chat/completions", min_score=2, model="chat").json()
    assert completion["choices"][0]["message"]["content"] == best


def test_prometheus_has_requests_parts_and_the_version(cluster: Cluster, run: Path) -> None:
    cluster.post_conversation()
    version = version_folder(run).name

    def scraped() -> list[str]:
        lines = httpx.get(f"{cluster.head.metrics}/metrics", trust_env=False).text.splitlines()
        return [line for line in lines if line.startswith("ray_rejoinder_")]

    def has(name: str, *labels: str) -> bool:
        for line in scraped():
            is_metric = line.startswith(f"ray_rejoinder_{name}{{") and all(label in line for label in labels)
            if is_metric and float(line.rsplit(" ", 1)[1]) > 0:
                return True
        return False

    wait(lambda: has("requests_total", 'route="/respond"', 'outcome="answered"'), 30)
    for part in ("tokenise", "encode", "search"):
        wait(lambda part=part: has("part_ms_bucket", f'part="{part}"', 'le="1000.0"'), 30)
    wait(lambda: has("index_responses", f'version="{version}"'), 30)


def test_a_changed_file_moves_replicas_to_a_version_and_back(cluster: Cluster, run: Path) -> None:
    versions = sorted(folder.name for folder in (run / "index").iterdir() if folder.is_dir())
    assert cluster.post_conversation().json()["version"] == versions[1]
    for version in versions:
        cluster.deploy(run, version)
        wait(lambda version=version: cluster.post_conversation().json()["version"] == version)
    refused = cluster.post("/admin/reload", {"version": versions[0]})
    assert refused.status_code == 409 and versions[1] in refused.json()["detail"]


def test_no_text_of_a_request_is_in_the_logs(cluster: Cluster) -> None:
    """Keys are not in the logs either."""
    assert cluster.post_conversation().is_success
    time.sleep(1)

    files = (cluster.head.folder / "ray").rglob("*")
    logs = [file for file in files if file.is_file() and file.suffix != ".sock"]
    leaks: list[str] = []
    for log in logs:
        content = log.read_bytes()
        if WORDS.encode() in content or SECRET.encode() in content:
            leaks.append(log.name)
    assert logs and leaks == []
