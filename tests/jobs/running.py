"""Runs a job as its users do."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector

from teachers.storage import open_uri
from tests.ray_head import BIN, REPOSITORY, RayHead, wait


def run_job(job: str, config: Path, *arguments: str) -> str:
    """What `jobs/JOB.py` printed, once it has ended well."""
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


class Submitted:
    """A job as `ray job submit` follows it."""

    def __init__(
        self, head: RayHead, name: str, config: Path, run: str, *arguments: str, upload: bool = True
    ) -> None:
        """`upload` sends the code, as users do; nodes that share one disk unpack it over each other."""
        self._head, self._name = head, name
        self._log = head.folder / f"{name}.log"
        command = ["job", "submit", "--address", head.dashboard, "--submission-id", name]
        command += ["--working-dir", "."] if upload else []
        job = ["python", "jobs/distill.py" if upload else f"{REPOSITORY}/jobs/distill.py"]
        job += ["--config", str(config), "--run", run, *arguments]
        with self._log.open("w") as log:
            self._client = subprocess.Popen(
                [BIN / "ray", *command, "--", *job],
                cwd=REPOSITORY,
                env=head.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        """`ray job stop`; returns when the job has ended."""
        command = [BIN / "ray", "job", "stop", "--address", self._head.dashboard, self._name]
        subprocess.run(command, check=True, env=self._head.environment, capture_output=True, timeout=60)

    def end(self) -> int:
        """Exit status of `ray job submit`, once the job has ended."""
        return self._client.wait(420)

    def wait(self, until: Callable[[], Any], seconds: float = 400) -> Any:
        """What `until` returns once that is true, before the job has ended."""
        try:
            found = wait(lambda: self._client.poll() is not None or until(), seconds)
        except AssertionError:
            raise AssertionError(f"not in {seconds:g} s: {self.said()}") from None
        assert self._client.poll() is None, self.said()
        return found


def stored_rows(store: str) -> list[str]:
    """FOLDER/KEY of all rows that teachers made; one that was made twice is there twice."""
    filesystem, path = open_uri(store)
    found: list[str] = []
    for file in filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=True)):
        # What is not yet whole has a name with a dot before it, and goes when it is.
        if file.extension == "parquet" and not file.base_name.startswith("."):
            with suppress(pa.ArrowInvalid):  # it is being written
                keys = pq.read_table(file.path, columns=["key"], filesystem=filesystem)["key"].to_pylist()
                found += [f"{Path(file.path).parent.name}/{key}" for key in keys]
    return found
