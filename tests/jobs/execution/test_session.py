"""How a job ends: a bucket that stays away is told in one line, wherever it was missed."""

import sys
from collections.abc import Callable

import pytest
import ray
import ray.data
from ray.exceptions import RayTaskError

from jobs.execution.session import run_main
from teachers.storage import read_text
from tests.s3_server import faulty_bucket

NAME = "AWS Error SLOW_DOWN during HeadObject operation: Please reduce your request rate."


@pytest.fixture(autouse=True)
def nothing_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and the loggers are other tests' as well."""
    monkeypatch.setattr("jobs.execution.session._set_up_libraries", lambda: None)
    monkeypatch.setattr("jobs.execution.log.configure_logging", lambda quiet: None)
    monkeypatch.setattr(sys, "argv", ["jobs/distill.py"])


def fail(*_: object) -> None:
    raise OSError(f"When reading information for key 'x' in bucket 'runs': {NAME}")


def in_a_task(arguments: list[str]) -> None:
    ray.get(ray.remote(fail).remote())


def in_ray_data(arguments: list[str]) -> None:
    ray.data.range(2).map_batches(fail).materialize()


def test_a_bucket_that_stays_away_ends_the_job_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("teachers.storage._S3_ATTEMPTS", 1)
    with faulty_bucket() as bucket:
        bucket.failures = 1000
        assert run_main(lambda arguments: print(read_text(bucket.at("folder/file")))) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: OSError: When getting information for key 'folder/file' in bucket 'runs'")
    assert "HTTP status 503" in line


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("job", [in_a_task, in_ray_data])
def test_one_that_a_process_of_rays_missed_is_told_in_the_same_line(
    job: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(job) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"error: OSError: When reading information for key 'x' in bucket 'runs': {NAME}"
    assert not any(line.startswith("Traceback") for line in lines)


@pytest.mark.usefixtures("ray_cluster")
def test_an_error_of_ours_keeps_its_traceback() -> None:
    def fail_after(batch: object) -> None:
        try:
            fail()
        except OSError:
            raise KeyError("column")  # noqa: B904 (the traceback tells both)

    def in_ray_data(arguments: list[str]) -> None:
        ray.data.range(2).map_batches(fail_after).materialize()

    def here(arguments: list[str]) -> None:
        fail_after(arguments)

    for job, error in ((in_ray_data, RayTaskError), (here, KeyError)):
        with pytest.raises(error, match="column"):
            run_main(job)
