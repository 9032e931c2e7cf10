"""A tiny encoder of random weights, built on the spot."""

from pathlib import Path

import pytest

from tests.student.student_rows import NUM_WORDS


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder of an encoder that knows the words w0, w1, …"""
    from tests.tiny_models import make_student

    return make_student(tmp_path_factory.mktemp("encoder") / "model", [f"w{i}" for i in range(NUM_WORDS)])
