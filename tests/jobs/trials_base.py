"""A base run for trials without teachers: toy targets that a tiny encoder learns within a second.

python -m tests.jobs.trials_base FOLDER SWEEP runs a sweep on it: for a test that kills it.
"""

import json
import sys
import time
from pathlib import Path

import ray
import yaml

from jobs.cluster import connect
from jobs.config import parse
from jobs.job import Job
from jobs.run_directory import RunDirectory
from jobs.sweep_config import SweepConfig
from jobs.tracking import Tracker
from jobs.trials import run_trials
from teachers.records import EXAMPLES, TARGETS, write_rows
from tests.student.student_rows import NUM_WORDS, example_rows, target_rows
from tests.tiny_models import make_student

NUM_STEPS = 4


def base_job(folder: Path) -> Job:
    """Its students take four steps, with a validation after each; made where it is not there yet."""
    settings = {
        "model": str(folder / "encoder"),
        "contexts_per_step": 16,
        "checkpoint_every_steps": 1,
        "num_workers": 1,
        "cpus_per_worker": 2,  # so that trials take turns on four CPUs
        "precision": "fp32",
    }
    options = [f"--student.{name}={value}" for name, value in settings.items()]
    config, _ = parse(["--config", "configs/local.yaml", "--tracking.project=null", *options])
    job = Job(config, RunDirectory(str(folder / "base")), Tracker(None, ".", {}))
    job.keys["targets"] = "toy"
    if not (folder / "encoder").is_dir():
        make_student(folder / "encoder", [f"w{number}" for number in range(NUM_WORDS)])
        write_rows(job.run.at("targets"), target_rows(16 * NUM_STEPS), TARGETS)
        write_rows(job.run.at("examples"), example_rows(24, "validation"), EXAMPLES)
    return job


def left_reserved(seconds: float) -> float:
    """CPUs that are not free, once all are or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        left: float = ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


if __name__ == "__main__":
    connect(stops_trainings=True)
    trials = run_trials(base_job(Path(sys.argv[1])), SweepConfig(**yaml.safe_load(sys.argv[2])))
    print(json.dumps({"trials": trials, "CPUs left reserved": left_reserved(60)}))
    ray.shutdown()
