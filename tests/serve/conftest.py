"""Small runs to serve: tiny students of random weights, TARGETS of a few rows, and their indexes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from serve.config import IndexConfig
from serve.index import write_index
from student.config import Kind
from student.encoder import EncoderSource
from teachers.records import TARGETS
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


def target(example_id: str, split: str, *candidates: dict[str, str | None]) -> dict[str, object]:
    return {
        "example_id": example_id,
        "split": split,
        "context": [{"role": "user", "content": "how are you"}],
        "candidates": list(candidates),
        "target_probs": None,
    }


TARGET_ROWS = [
    target(
        "a",
        "train",
        candidate("fine thanks", "gold"),
        candidate("hello  hello", "generated", "llama"),
        candidate("hello hello", "generated", "gemma"),
        candidate("never here", "random"),
    ),
    target(
        "b",
        "train",
        candidate("good night", "gold"),
        candidate(" fine\tthanks", "generated", "gemma"),
        candidate("Fine thanks", "generated", "gemma"),
        candidate("fine thanks", "retrieved"),
    ),
    target("c", "validation", candidate("see you tomorrow", "gold")),
]


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TARGETS dataset of TARGET_ROWS."""
    folder = tmp_path_factory.mktemp("targets")
    pa.parquet.write_table(pa.Table.from_pylist(TARGET_ROWS, schema=TARGETS), folder / "part.parquet")
    return folder


def make_run(run: Path, kind: Kind, targets: Path) -> Path:
    """A run directory with `student/` and `index/`; its response set has four responses."""
    (make_student if kind == "dense" else make_sparse_student)(run / "student", WORDS)
    student = EncoderSource(str(run / "student"), kind, 32, "fp32")
    counts = write_index(str(targets), student, str(run / "index"), IndexConfig(), 4, lambda *_: None)
    assert counts == {"num_responses": 4, "num_gold": 2, "num_generated": 2}
    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, targets: Path, ray_cluster: None) -> Path:
    """The run of a dense student."""
    return make_run(tmp_path_factory.mktemp("dense"), "dense", targets)


@pytest.fixture(scope="session")
def sparse_run(tmp_path_factory: pytest.TempPathFactory, targets: Path, ray_cluster: None) -> Path:
    """The run of a sparse student."""
    return make_run(tmp_path_factory.mktemp("sparse"), "sparse", targets)


@pytest.fixture(scope="session", params=["small_run", "sparse_run"])
def any_run(request: pytest.FixtureRequest) -> Path:
    """Either of the two."""
    run: Path = request.getfixturevalue(request.param)
    return run
