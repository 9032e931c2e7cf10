"""Running a job as users do."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector

from teachers.storage import open_uri
from tests.ray_head import BIN, REPOSITORY, RayHead, wait


def run_job(job: str, config: Path, *arguments: str) -> str:
    """Run `jobs/JOB.py`; return its output."""
    job_process = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=1500,
    )
    output = job_process.stdout
    assert job_process.returncode == 0, output[-4000:] + job_process.stderr[-4000:]
    return output


class Submitted:
    """A job under `ray job submit`."""

    def __init__(
        self, head: RayHead, name: str, config: Path, run: str, *arguments: str, upload: bool = True
    ) -> None:
        """Submit the job. `upload` sends the code, as users do; nodes that share a disk overwrite it."""
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

    def output(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        """Run `ray job stop`; return when the job has ended."""
        command = [BIN / "ray", "job", "stop", "--address", self._head.dashboard, self._name]
        subprocess.run(command, check=True, env=self._head.environment, capture_output=True, timeout=60)

    def end(self) -> int:
        """Wait for the end of the job; return the exit status of `ray job submit`."""
        return self._client.wait(420)

    def wait(self, until: Callable[[], Any], seconds: float = 400) -> Any:
        """Poll `until` while the job runs; return its first true value."""
        try:
            value = wait(lambda: self._client.poll() is not None or until(), seconds)
        except AssertionError:
            raise AssertionError(f"not within {seconds:g} s: {self.output()}") from None
        assert self._client.poll() is None, self.output()
        return value


def stored_rows(store: str) -> list[str]:
    """FOLDER/KEY of every row that teachers made; a row made twice is listed twice."""
    rows: list[str] = []
    for folder, table in _stored_tables(store, "key"):
        rows += [f"{folder}/{key}" for key in table["key"].to_pylist()]
    return rows


def stored_errors(store: str) -> list[str]:
    """Of the rows that were stored as errors, in the place of what a teacher would have made."""
    errors: list[str] = []
    for _, table in _stored_tables(store, "error"):
        errors += table["error"].drop_null().to_pylist()
    return errors


def _stored_tables(store: str, column: str) -> Iterator[tuple[str, pa.Table]]:
    """Folder and table of each file of the store that is whole."""
    filesystem, path = open_uri(store)
    for file in filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=True)):
        # An unfinished file's name starts with a dot; it is removed at the end.
        if file.extension == "parquet" and not file.base_name.startswith("."):
            with suppress(pa.ArrowInvalid):  # still being written
                table = pq.read_table(file.path, columns=[column], filesystem=filesystem)
                yield Path(file.path).parent.name, table
