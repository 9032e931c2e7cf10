"""Runs a job as its users do."""

import subprocess
import sys
from pathlib import Path


def run_job(job: str, config: Path, *arguments: str) -> str:
    """What `jobs/JOB.py` printed, once it has ended well."""
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
