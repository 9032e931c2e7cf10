"""Ray's autoscaler, with processes for machines: teachers' nodes come for their work and leave after it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.jobs.running import Submitted
from tests.ray_head import RayHead, ray_head, wait

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.weights]
NODE_TYPES = {
    "ray.head.default": {
        "resources": {"CPU": 3},
        "labels": {"role": "head"},
        "node_config": {},
        "max_workers": 0,
    },
    "teacher": {"resources": {"CPU": 1}, "labels": {"role": "teacher"}, "node_config": {}, "max_workers": 3},
}
JOB = [
    "--finetune.epochs=0",
    "--generate.contexts=60",
    "--generate.samples=4",
    "--generate.batch_size=1",
    "--generate.max_tokens=200",
    "--teachers.chat.replicas=[0, 3]",
    "--teachers.chat.num_cpus=1",
    '--teachers.chat.node_labels={"role": "teacher"}',
    '--teachers.retriever.node_labels={"role": "head"}',
    "--student.num_workers=1",
    '--student.node_labels={"role": "head"}',
    "--until=train",
]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head("--num-cpus 3 --labels role=head", NODE_TYPES) as head:
        yield head


class Nodes:
    """Counts the teachers' nodes while the body runs: (seconds, nodes, stage) at each change."""

    def __init__(self, head: RayHead, job: Submitted) -> None:
        self.changes: list[tuple[float, int, str]] = []
        self._head, self._job = head, job
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Nodes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(0.5):
            try:
                found = self._head.num_alive() - 1, self._stage()
            except httpx.HTTPError:
                continue
            if not self.changes or self.changes[-1][1:] != found:
                self.changes.append((round(time.monotonic() - began), *found))

    def _stage(self) -> str:
        begun = [line.split()[0] for line in self._job.said().splitlines() if line.endswith(" …")]
        return begun[-1] if begun else ""


def test_teachers_nodes_come_for_their_work_and_leave_after_it(
    head: RayHead, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Submitted(head, "scaled", config, str(config.parent / "scaled/run"), *JOB, upload=False)
    with Nodes(head, job) as nodes:
        assert job.end() == 0, job.said()
        wait(lambda: nodes.changes[-1][1] == 0, 60)
    with capsys.disabled():
        print("\nseconds, teachers' nodes, stage:", *nodes.changes)
    assert nodes.changes[0][1] == 0
    at_work = max(count for _, count, stage in nodes.changes if stage == "generate")
    assert at_work > 1
    assert min(count for _, count, stage in nodes.changes if stage == "train") == 0
