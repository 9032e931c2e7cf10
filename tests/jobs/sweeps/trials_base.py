"""A base run for trials without teachers: toy targets that a tiny encoder learns within a second.

python -m tests.jobs.sweeps.trials_base FOLDER SWEEP runs a sweep on it: for tests of killed and stopped ones.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml

from jobs.distillation.config import parse
from jobs.distillation.stages import DistillationJob
from jobs.execution.cluster import connect
from jobs.execution.job import Job
from jobs.execution.log import configure_logging
from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import Tracker
from jobs.sweeps.config import SweepConfig
from jobs.sweeps.trials import run_trials
from teachers.dataset import write_rows
from teachers.records import EXAMPLES, TARGETS
from tests.student.student_rows import NUM_WORDS, example_rows, target_rows
from tests.tiny_models import make_student

NUM_STEPS = 4


def base_job(folder: Path) -> DistillationJob:
    """Its students take four steps, with a validation after each; made where it is not there yet."""
    settings = {
        "model": str(folder / "encoder"),
        "encoders": "shared",
        "own_turn_negatives": 0,
        "frozen_layers": "null",  # the tiny encoder has two
        "global_batch_size": 16,
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


def left_over(seconds: float) -> dict[str, Any]:
    """Processes of trainings, and CPUs that are not free, once there is neither or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        reserved = ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0)
        processes = _training_processes()
        if not (reserved or processes) or time.monotonic() > deadline:
            return {"processes": processes, "CPUs": reserved}
        time.sleep(0.2)


def _training_processes() -> list[str]:
    names = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            names.append(" ".join(process.cmdline()))
    return [name for name in names if "RayTrainWorker" in name or "TrainController" in name]


if __name__ == "__main__":
    configure_logging()
    connect(stops_trainings=True)
    trials = run_trials(base_job(Path(sys.argv[1])), SweepConfig(**yaml.safe_load(sys.argv[2])))
    print(json.dumps({"trials": trials, "left over": left_over(60)}))
    ray.shutdown()
