"""Tiny encoders of random weights, built on the spot."""

from pathlib import Path

import pytest

from tests.student.student_rows import NUM_WORDS


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder of an encoder that knows the words w0, w1, …"""
    from tests.tiny_models import make_student

    return make_student(tmp_path_factory.mktemp("encoder") / "model", [f"w{i}" for i in range(NUM_WORDS)])


@pytest.fixture(scope="session")
def tiny_sparse_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a sparse encoder."""
    from tests.tiny_models import make_sparse_student

    words = [f"w{i}" for i in range(NUM_WORDS)]
    return make_sparse_student(tmp_path_factory.mktemp("sparse-encoder") / "model", words)
