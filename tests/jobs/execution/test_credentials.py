"""A run whose URI has credentials: no line, no file of the run and nothing that W&B gets has them."""

import logging
import sys
from collections.abc import Iterator

import pyarrow.fs
import pytest
import wandb

from jobs.config import JobConfig
from jobs.execution.hints import make_command
from jobs.execution.log import configure_logging
from jobs.execution.session import started
from teachers.storage import open_uri
from tests.s3_server import faulty_bucket

RUN = "s3://KEY:SECRET@runs/job"
ROOMS = ("jobs", "teachers", "student", "serve")


@pytest.fixture
def bucket_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[pyarrow.fs.FileSystem]:
    """A bucket that takes any credentials."""
    with faulty_bucket() as bucket:
        filesystem, _ = open_uri(bucket.at(""))
        monkeypatch.setattr("teachers.storage._s3", lambda _: filesystem)
        yield filesystem


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.execution.cluster.connect", lambda stops_trainings: None)
    monkeypatch.setattr("jobs.execution.cluster.check_resources", lambda config: None)
    monkeypatch.setattr("ray.shutdown", lambda: None)


@pytest.fixture
def loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(room) for room in ROOMS]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagates) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagates
        logger.setLevel(level)


@pytest.mark.usefixtures("no_cluster", "loggers_as_before")
def test_credentials_reach_neither_lines_nor_files_nor_wandb(
    bucket_files: pyarrow.fs.FileSystem,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs/distill.py", "--run", RUN, f"--store={RUN}/store"])
    configure_logging()
    try:
        with started(JobConfig(store=f"{RUN}/store"), RUN) as job:
            job.tracker.log({"train/loss": 1.0})
            logging.getLogger("jobs.distill").info("talk to it: %s", make_command("serve", RUN=RUN))
            logging.getLogger("student.export").info("%s: written", job.run.at("onnx", "1"))
    finally:
        wandb.teardown()

    output = capsys.readouterr()
    assert "SECRET" not in output.out + output.err
    assert output.out.splitlines()[-3:] == [
        "run directory: s3://runs/job",
        "talk to it: make serve RUN=s3://runs/job",
        "s3://runs/job/onnx/1: written",
    ]

    files = bucket_files.get_file_info(pyarrow.fs.FileSelector("runs/job", recursive=True))
    names = [file.path for file in files if file.is_file]
    assert "runs/job/run.json" in names
    assert any(name.endswith(".wandb") for name in names)
    for name in names:
        with bucket_files.open_input_stream(name, compression=None) as stream:
            assert b"SECRET" not in stream.read(), name
