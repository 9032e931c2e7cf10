"""Small runs to serve: tiny students with random weights, responses, and their indexes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from ray import serve as ray_serve

from serve.config import EndpointConfig, IndexConfig, ServeConfig
from serve.deployment import deploy
from serve.indexing import write_index
from serve.ingress import free_port
from serve.versions import check_version, folder_of
from student.config import Kind
from student.encoders.encoder import EncoderSource
from teachers.records import RESPONSE_SET
from teachers.texts import response_id
from tests.http_server import chat_completion, json_server
from tests.tiny_models import make_sparse_student, make_student

WORDS = [
    "hello",
    "hi",
    "how",
    "are",
    "you",
    "fine",
    "thanks",
    "cook",
    "fish",
    "good",
    "night",
    "never",
    "here",
]


def candidate(text: str, source: str, teacher: str | None = None) -> dict[str, str | None]:
    return {"text": text, "source": source, "teacher": teacher}


def response_set(*candidates: dict[str, str | None]) -> pa.Table:
    """RESPONSE_SET of the candidates, in their order."""
    rows = [{"response_id": response_id(str(row["text"])), **row} for row in candidates]
    return pa.Table.from_pylist(rows, schema=RESPONSE_SET)


RESPONSES = response_set(
    candidate("Fine thanks", "generated", "gemma"),
    candidate("fine thanks", "gold"),
    candidate("good night", "gold"),
    candidate("hello hello", "generated", "gemma"),
)


def make_run(run: Path, kind: Kind, responses: pa.Table = RESPONSES) -> Path:
    """A run directory with a version of an index; its response set has four responses."""
    make = make_student if kind == "dense" else make_sparse_student
    make(run / "student", WORDS)
    student = EncoderSource(str(run / "student"), kind, 32, "fp32")

    counts = write_index(responses, student, str(run), IndexConfig(), 4, lambda *_: None)
    assert counts == {
        "version": check_version(str(run)),
        "num_responses": 4,
        "num_gold": 2,
        "num_generated": 2,
    }
    return run


def version_folder(run: Path) -> Path:
    """The folder of the run's newest version."""
    return Path(folder_of(str(run), check_version(str(run))))


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """The run of a dense student."""
    return make_run(tmp_path_factory.mktemp("dense"), "dense")


@pytest.fixture(scope="session")
def sparse_run(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """The run of a sparse student."""
    return make_run(tmp_path_factory.mktemp("sparse"), "sparse")


@pytest.fixture(scope="session", params=["small_run", "sparse_run"])
def any_run(request: pytest.FixtureRequest) -> Path:
    """The run of either student."""
    run: Path = request.getfixturevalue(request.param)
    return run


@pytest.fixture(scope="package")
def served_run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run: tests change what is served."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("served") / "chat"))


@pytest.fixture(scope="package")
def served_run_copy(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second copy, for the tests of faults."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("disturbed") / "chat"))


def _repeat(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer with the messages of the request; with status 503 where they end with `refuse`."""
    turns = [f"{message['role']}: {message['content']}" for message in request["messages"]]
    text = " | ".join(turns)
    return 503 if text.endswith("refuse") else 200, chat_completion(text)


@pytest.fixture(scope="package")
def generator_url() -> Iterator[str]:
    """The URL of a chat endpoint that repeats its messages."""
    with json_server(_repeat) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="package")
def client(served_run: Path, generator_url: str) -> Iterator[httpx.Client]:
    """A client of a deployment with two replicas that log requests, and with a generator."""
    generator = EndpointConfig(
        url=generator_url, model="parrot", system_prompt="Be brief.", grounded=True, context_turns=3
    )
    config = ServeConfig(
        run=str(served_run),
        port=free_port(),
        num_replicas=2,
        replica_cpus=0.5,
        log_requests=True,
        generator=generator,
    )

    try:
        url = deploy(config)
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        ray_serve.shutdown()
