"""A job on several nodes, of which some are lost; its run directory and store in a bucket of S3's kind."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest

from serve.ingress import free_port
from tests.jobs.running import Submitted, stored_rows
from tests.ray_head import RayHead, ray_head, wait

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.weights]
BUCKET = "rejoinder"
STORE = f"s3://{BUCKET}/store"
PAIRS = f"{STORE}/pairs"
TEACHERS = [
    "--teachers.chat.replicas=2",
    "--teachers.chat.num_cpus=1",
    '--teachers.chat.node_labels={"role": "teacher"}',
    "--teachers.retriever.replicas=2",
    '--teachers.retriever.node_labels={"role": "teacher"}',
    "--finetune.epochs=0",
    "--generate.contexts=30",
    "--score.batch_size=1",
]


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """The environment in which s3:// is a server on loopback."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            filesystem = pyarrow.fs.S3FileSystem(allow_bucket_creation=True)
            wait(lambda: filesystem.create_dir(BUCKET) is None)
            yield settings
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def head(bucket: dict[str, str]) -> Iterator[RayHead]:
    with ray_head("--num-cpus 3 --labels role=head", **bucket) as head:
        yield head


def test_a_lost_node_of_teachers_costs_no_row_and_repeats_none(
    head: RayHead, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [head.add_node(2, "role=teacher") for _ in range(2)]
    job = Submitted(
        head,
        "teachers",
        config,
        f"s3://{BUCKET}/run",
        *TEACHERS,
        f"--store={STORE}",
        "--until=score",
    )
    wait(lambda: job.is_over() or len(stored_rows(PAIRS)) > 0, 300)
    assert not job.is_over(), job.said()
    before, killed = len(stored_rows(PAIRS)), time.monotonic()
    head.kill_node(nodes[0])
    assert job.end() == 0, job.said()
    took = time.monotonic() - killed
    found = stored_rows(PAIRS)
    with capsys.disabled():
        twice = len(found) - len(set(found))
        print(f"\none of two nodes killed at {before} pairs: {len(found)} {took:.0f} s later, {twice} twice")
    print(job.said())
    assert len(set(found)) > before
    assert len(found) == len(set(found))
