"""A small run to serve: a tiny student of random weights, TARGETS of a few rows, and their index."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from serve.config import IndexConfig
from serve.index import write_index
from teachers.records import TARGETS
from tests.tiny_models import make_student

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
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: a two-layer BERT of random weights over WORDS, 16 dimensions."""
    return make_student(tmp_path_factory.mktemp("student") / "model", WORDS)


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TARGETS dataset of TARGET_ROWS."""
    folder = tmp_path_factory.mktemp("targets")
    pa.parquet.write_table(pa.Table.from_pylist(TARGET_ROWS, schema=TARGETS), folder / "part.parquet")
    return folder


@pytest.fixture(scope="session")
def small_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_student: Path, targets: Path, ray_cluster: None
) -> Path:
    """A run directory with `student/` and `index/`; its response set has four responses."""
    run = tmp_path_factory.mktemp("run")
    (run / "student").symlink_to(tiny_student)
    counts = write_index(
        str(targets),
        str(run / "student"),
        str(run / "index"),
        32,
        IndexConfig(),
        4,
        lambda *_: None,
    )
    assert counts == {"num_responses": 4, "num_gold": 2, "num_generated": 2}
    return run
