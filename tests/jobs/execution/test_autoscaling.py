"""Ray's autoscaler, with processes for machines: teachers' nodes come for their work and leave after it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.jobs.running import Submitted
from tests.ray_head import RayHead, ray_head, wait

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.weights, pytest.mark.timeout(1200)]
NODE_TYPES = {
    "head": {"resources": {"CPU": 3}, "labels": {"role": "head"}, "max_workers": 0},
    "teacher": {"resources": {"CPU": 1}, "labels": {"role": "teacher"}, "max_workers": 3},
}
JOB = [
    "--teachers.retriever.model=all-minilm-l6-v2",  # a real one, so that the work takes a while
    "--generate.contexts=60",
    "--candidates.evaluation_contexts=60",
    "--teachers.retriever.replicas=[0, 3]",
    '--teachers.retriever.node_labels={"role": "teacher"}',
    "--score.batch_size=1",
    '--student.node_labels={"role": "head"}',
    "--student.epochs=2",
    "--until=train",
]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head("--num-cpus 3 --labels role=head", NODE_TYPES) as head:
        yield head


class Nodes:
    """Watches while the body runs: (seconds, nodes beside the head, teachers' processes, stage) by change."""

    def __init__(self, head: RayHead, job: Submitted) -> None:
        self.changes: list[tuple[int, int, int, str]] = []
        self._head, self._job = head, job
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Nodes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def in_stage(self, stage: str) -> list[int]:
        """Numbers of nodes."""
        return [count for _, count, _, during in self.changes if during == stage]

    def processes(self, stage: str) -> list[int]:
        """Numbers of teachers' processes."""
        return [count for _, _, count, during in self.changes if during == stage]

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(0.5):
            try:
                state = len(self._head.alive()) - 1, self._replicas(), self._stage()
            except (httpx.HTTPError, ValueError, KeyError):
                continue  # the dashboard is busy
            if not self.changes or self.changes[-1][1:] != state:
                self.changes.append((round(time.monotonic() - began), *state))

    def _replicas(self) -> int:
        return sum("MapWorker" in line for line in self._head.command_lines())

    def _stage(self) -> str:
        begun = [line.split()[0] for line in self._job.output().splitlines() if line.endswith(" …")]
        return begun[-1] if begun else ""


def test_teachers_nodes_come_for_their_work_and_leave_after_it(
    head: RayHead, retriever_alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(retriever_alone.parent / "scaled/run")
    job = Submitted(head, "scaled", retriever_alone, run, *JOB, upload=False)
    with Nodes(head, job) as nodes:
        status = job.end()
        wait(lambda: nodes.changes[-1][1] == 0)
    with capsys.disabled():
        print("\nseconds, teachers' nodes and processes, stage:", *nodes.changes)
    print(job.output())
    assert status == 0
    assert nodes.changes[0][1] == 0
    # All three are asked for at once; on a slow machine the work may end before the last one is there.
    assert max(nodes.in_stage("score")) > 1
    assert max(nodes.processes("score")) > 1
    assert nodes.in_stage("train")[-1] == 0
