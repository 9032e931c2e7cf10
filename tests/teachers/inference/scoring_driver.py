"""A job that has one real teacher score candidates, slowly, and notes what is asked: for tests that kill it.

python -m tests.teachers.inference.scoring_driver FOLDER
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import ray

from teachers.config import VllmTeacher
from teachers.engines.protocol import Teacher
from teachers.inference.pipeline import run_teacher
from teachers.inference.store import Row
from teachers.inference.tasks import TeacherWork
from teachers.inference.work_files import work_files
from teachers.scoring.config import ScoreConfig
from teachers.scoring.pair_scores import plan_scores, scoring

BATCH = 2
SECONDS_A_BATCH = 0.4


class Slowly:
    """Scores as ever, and writes down who was asked for what."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._score = scoring(ScoreConfig(repeated_share=0)).run

    def __call__(self, teacher: Teacher, rows: list[Row]) -> list[Row]:
        (self._folder / "worker.new").write_text(str(os.getpid()))
        (self._folder / "worker.new").rename(self._folder / "worker")
        with (self._folder / "asked").open("a") as requests_file:
            requests_file.writelines(f"{key}\n" for row in rows for key in row["keys"])
        time.sleep(SECONDS_A_BATCH)
        return self._score(teacher, rows)


def main(folder: Path) -> None:
    """Scores what is missing; notes in `left` which processes still ran when it was done."""
    teacher = VllmTeacher(
        model=str(folder / "model"), dtype="float32", max_model_tokens=256, max_sane_loss=50, num_cpus=1
    )
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    store = str(folder / "store")
    work = str(folder / "work")
    plan_scores(str(folder / "candidates"), teacher, store, work, BATCH)
    task = replace(scoring(ScoreConfig()), run=Slowly(str(folder)))
    if work_files(work):
        for _ in run_teacher(TeacherWork("tiny", teacher, task, BATCH, store, str(folder / "notes")), work):
            pass
    worker = int((folder / "worker").read_text())
    deadline = time.monotonic() + 60  # an actor may take half a minute to end, and more beside other tests
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    (folder / "left").write_text("the engine" if psutil.pid_exists(worker) else "")
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
