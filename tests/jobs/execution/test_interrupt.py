"""Ctrl-C while teachers work, in threads that nothing else ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.teachers.engines.endpoints import GOOD, stand_in

# A terminal sends the signal to the whole group, Ray's processes included; they are in groups of their own.
_ENDS_WITHIN_S = 60


def _obey_interrupts() -> None:
    """What a shell runs in the background, as these tests may be, ignores them, and so would the job."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.weights  # the conversations come with the extra `local`
def test_an_interrupted_job_ends_in_one_line_and_leaves_no_process(config: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["finetune"] = {"epochs": 0}
    with stand_in(lambda _: GOOD, takes_s=300) as server:
        served = {"kind": "endpoint", "model": "tiny", "base_url": server.url, "request_timeout_s": 600}
        settings["teachers"] = {"slow": served, "retriever": settings["teachers"]["retriever"]}
        file = tmp_path / "job.yaml"
        file.write_text(yaml.safe_dump(settings))

        job = subprocess.Popen(
            [sys.executable, "jobs/distill.py", "--config", str(file), "--run", str(tmp_path / "run")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_obey_interrupts,
        )
        try:
            deadline = time.monotonic() + 120
            while not server.bodies:
                assert job.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            os.killpg(job.pid, signal.SIGINT)
            output, errors = job.communicate(timeout=_ENDS_WITHIN_S)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)

    assert job.returncode == 130
    assert errors.endswith("interrupted: the same command resumes the job\n")
    assert "slow writes: 24 to do" in output and "Traceback" not in output + errors
