"""A job on several nodes, of which some are lost; its run directory and store in a bucket of S3's kind."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pyarrow.fs import FileSelector

from serve.ingress import free_port
from teachers.storage import open_uri
from tests.jobs.running import Submitted, stored_errors, stored_rows
from tests.ray_head import RayHead, ray_head, wait

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.weights, pytest.mark.timeout(1200)]
NAME = "rejoinder"
CHECKPOINT_EVERY = 4
NUM_STEPS = 2 * (60 // 8)  # epochs of 60 contexts, 8 in a step
JOB = [
    "--teachers.retriever.replicas=2",
    '--teachers.retriever.node_labels={"role": "teacher"}',
    "--score.batch_size=1",
    "--student.num_workers=2",
    '--student.node_labels={"role": "trainer"}',
    "--student.epochs=2",
    "--student.report_every_steps=1",  # Ray Train takes one every two seconds: there is a middle
    f"--student.checkpoint_every_steps={CHECKPOINT_EVERY}",
    f"--store=s3://{NAME}/store",
    "--until=train",
]


@dataclass(frozen=True)
class Bucket:
    """Of a server of S3's kind on loopback."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """In which s3:// is this server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def uri(self, path: str) -> str:
        """For this process, where Arrow has read its environment already."""
        server = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"s3://test:test@{NAME}/{path}?{server}&allow_bucket_creation=true"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    bucket = Bucket(free_port())
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(bucket.port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(lambda: httpx.get(f"http://127.0.0.1:{bucket.port}", trust_env=False).status_code)
        filesystem, _ = open_uri(bucket.uri(""))
        filesystem.create_dir(NAME)
        yield bucket
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def head(bucket: Bucket) -> Iterator[RayHead]:
    with ray_head("--num-cpus 3 --labels role=head", **bucket.environment) as head:
        yield head


def trains(head: RayHead, node: subprocess.Popen[bytes]) -> bool:
    """Whether a training worker runs on the node."""
    return any("RayTrainWorker" in line for line in head.command_lines(node))


def reported_steps(run: str) -> list[int]:
    """Of the student's training so far."""
    filesystem, path = open_uri(run)
    for file in filesystem.get_file_info(FileSelector(f"{path}/train", allow_not_found=True, recursive=True)):
        if file.base_name == "history.jsonl":
            lines = filesystem.open_input_stream(file.path).read().decode().splitlines()
            return [json.loads(line)["step"] for line in lines]
    return []


def test_lost_nodes_cost_no_row_of_teachers_and_the_steps_since_the_last_checkpoint(
    head: RayHead, bucket: Bucket, retriever_alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two nodes of teachers one in mid-score; in mid-training one of two, for which another comes."""
    teachers, trainers = (
        [head.add_node(num_cpus, f"role={role}") for _ in range(2)]
        for num_cpus, role in ((1, "teacher"), (1, "trainer"))
    )
    run, store = bucket.uri("run"), bucket.uri("store/pairs")
    job = Submitted(head, "lost", retriever_alone, f"s3://{NAME}/run", *JOB, upload=False)

    # Killed at the first look that shows rows: a second one takes long enough for the rest to be scored.
    at_kill = len(job.wait(lambda: stored_rows(store)))
    killed = time.monotonic()
    head.kill_node(teachers[0])
    job.wait(lambda: "targets: " in job.output())
    took = time.monotonic() - killed
    keys = stored_rows(store)
    with capsys.disabled():
        twice = len(keys) - len(set(keys))
        print(f"\none of two nodes killed at {at_kill} pairs: {len(keys)} {took:.0f} s later, {twice} twice")
    assert len(set(keys)) > at_kill
    assert len(keys) == len(set(keys))
    assert stored_errors(store) == []  # the node's loss is the fault of none of its rows

    job.wait(lambda: len(reported_steps(run)) > CHECKPOINT_EVERY + 1)
    assert all(trains(head, node) for node in trainers)
    killed = time.monotonic()
    head.kill_node(trainers[0])
    new = head.add_node(1, "role=trainer")
    job.wait(lambda: trains(head, new))
    before = reported_steps(run)
    # Steps that are taken again replace the lost ones.
    job.wait(lambda: reported_steps(run) != before)
    took, went_on = time.monotonic() - killed, reported_steps(run)[-1]
    assert job.end() == 0, job.output()
    with capsys.disabled():
        print(
            f"one of two training nodes killed at step {before[-1]} of {NUM_STEPS}: "
            f"step {went_on} {took:.0f} s later, {before[-1] - went_on + 1} steps repeated"
        )
    print(job.output())
    assert went_on - 1 in range(CHECKPOINT_EVERY, before[-1] + 1, CHECKPOINT_EVERY)
    assert reported_steps(run) == [*range(1, NUM_STEPS + 1)]
