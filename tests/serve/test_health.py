"""A replica between its requests: health checks and the versions that Ray Serve configures."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.changes import Changes, read_changes, write_change
from serve.versions import check_version
from teachers.texts import response_id
from tests.serve.conftest import make_run
from tests.serve.in_process import REPLICA_NAMES, only_replica


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "chat", "dense")


@pytest.fixture
def replica(run: Path) -> Iterator[Any]:
    with only_replica(run) as replica:
        yield replica


def test_a_health_check_reads_changes_only_where_there_is_a_new_one(
    run: Path, replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counted(run: str) -> Changes:
        reads.append(run)
        return read_changes(run)

    async def checks(number: int) -> None:
        for _ in range(number):
            await replica.check_health()

    asyncio.run(checks(1))  # takes what was written while it started
    monkeypatch.setitem(REPLICA_NAMES, "read_changes", counted)
    asyncio.run(checks(10))
    assert reads == []

    write_change(str(run), ["a text of today"])
    asyncio.run(checks(1))
    assert replica.responder.text_of(response_id("a text of today")) == "a text of today"
    asyncio.run(checks(10))
    assert reads == [str(run)]


def test_a_configured_version_is_looked_up_off_the_event_loop(
    run: Path, replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def looked_up(run: str, version: str | None = None) -> str:
        threads.append(threading.current_thread())
        return check_version(run, version)

    monkeypatch.setitem(REPLICA_NAMES, "check_version", looked_up)
    version = replica.responder.version
    asyncio.run(replica.reconfigure({"version": version}))
    assert replica.pinned == replica.responder.version == version
    assert len(threads) == 1 and threads[0] is not threading.current_thread()

    asyncio.run(replica.reconfigure({"version": "absent"}))  # logged, and the old one stays
    assert replica.responder.version == version
