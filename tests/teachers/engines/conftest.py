"""Fixtures of engines' tests."""

import pytest

from tests.teachers.engines.endpoints import KEY, KEY_ENV


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of endpoint teachers, where they look for it."""
    monkeypatch.setenv(KEY_ENV, KEY)
