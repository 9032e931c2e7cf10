"""Seconds of a job of N training contexts by stage, and the growth of its memory with N.

    python benchmarks/scaling.py [--quick] [--models tiny] [--largest 100000] [--folder FOLDER]

Runs two small jobs and fits a line to each stage's seconds; with it, predicts a job four times as large as
the second one, then runs it. A watcher notes the largest private memory of every kind of process, and of
Ray's object store. Tiny models with random weights suffice, the conversations are real; `--models retriever`
leaves out the engine, which takes the longest, and `--models packaged` takes the models of
configs/local.yaml, and fewer rows. The last line is JSON: actual by predicted seconds, and memory in the
largest job by that in the smallest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from jobs.distillation.config import STAGE_NAMES as JOB_STAGES

ROOT = Path(__file__).parents[1]
GROWTH = 4  # of the predicted job, over the second one
STAGES: list[str] = [stage for stage in JOB_STAGES if stage != "finetune"]


@dataclass
class Job:
    """Measurements of a job."""

    contexts: int
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    """Kind of process -> the largest private memory of one."""
    object_store_mb: float = 0.0
    """The most of Ray's object store that one process had in use."""
    disk_mb: dict[str, float] = field(default_factory=dict)
    """Dataset -> size of its files."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smaller jobs of a retriever alone until training, under 5 minutes",
    )
    parser.add_argument("--models", choices=("tiny", "retriever", "packaged"), default="tiny")
    parser.add_argument("--folder", type=Path, help="keeps the jobs here; existing ones are not run again")
    parser.add_argument("--largest", type=int, default=0, help="contexts of one more job, for its memory")
    options = parser.parse_args()

    first = 250 if options.quick else 100 if options.models == "packaged" else 1250
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        settings = (packaged if options.models == "packaged" else tiny)(folder)
        if options.quick or options.models == "retriever":
            del settings["teachers"]["chat"]
        if options.quick:
            del STAGES[STAGES.index("index") :]

        jobs = [run(folder, settings, contexts) for contexts in (first, 2 * first)]
        size = 2 * GROWTH * first
        costs = {stage: line(jobs, stage) for stage in STAGES}
        predicted = {stage: fixed + slope * size for stage, (fixed, slope) in costs.items()}
        print(f"{size} contexts, predicted: {sum(predicted.values()):.0f} s", flush=True)

        jobs.append(run(folder, settings, size))
        show_seconds(jobs, predicted)
        if options.largest:
            jobs.append(run(folder, settings, options.largest))
        show_memory(jobs)

    small, large = jobs[0], jobs[-1]
    others = {kind for kind in large.memory_mb if kind != "driver" and kind in small.memory_mb}
    other_growth = max(large.memory_mb[kind] / small.memory_mb[kind] for kind in others)

    summary = {
        "seconds_by_predicted": round(sum(jobs[2].seconds.values()) / sum(predicted.values()), 3),
        "driver_memory_growth": round(large.memory_mb["driver"] / small.memory_mb["driver"], 3),
        "other_memory_growth": round(other_growth, 3),
        "rows_growth": large.contexts / small.contexts,
    }
    print(json.dumps(summary))


def tiny(folder: Path) -> dict[str, Any]:
    """A config with models of negligible cost; the teachers see all contexts."""
    sys.path.insert(0, str(ROOT))
    from tests.tiny_models import CORPUS, make_student, make_teacher

    words = sorted({word for text in CORPUS for word in text.split()})
    models = {name: str(folder / name) for name in ("chat", "retriever", "encoder")}
    if not Path(models["encoder"]).exists():
        make_teacher(folder / "chat", chat=True, seed=1)
        make_student(folder / "retriever", words)
        make_student(folder / "encoder", words)

    return {
        "examples": {"conversations": "chitchat-dataset"},
        "teachers": {
            "chat": {
                "model": models["chat"],
                "dtype": "float32",
                "max_model_tokens": 512,
                "max_sane_loss": 50,
            },
            "retriever": {
                "kind": "similarity",
                "model": models["retriever"],
                "num_cpus": 1,
                "max_tokens": 64,
            },
        },
        "finetune": {"epochs": 0},
        "generate": {"samples": 1, "max_tokens": 8, "batch_size": 64},
        "score": {"batch_size": 64},
        "candidates": {
            "generated_per_teacher": 1,
            "retrieved": 1,
            "random": 1,
            "retriever": models["encoder"],
        },
        "student": {"model": models["encoder"], "precision": "fp32", "epochs": 1, "max_tokens": 32},
    }


def packaged(folder: Path) -> dict[str, Any]:
    """The models of configs/local.yaml without the slowest."""
    settings: dict[str, Any] = yaml.safe_load((ROOT / "configs/local.yaml").read_text())
    settings["teachers"].pop("gemma3")
    return {**settings, "finetune": {"epochs": 0}}


def run(folder: Path, settings: dict[str, Any], contexts: int) -> Job:
    """Run the job of `contexts` contexts, or read its measurements."""
    place = folder / f"{contexts}"
    file = place / "measured.json"
    if file.is_file():
        return Job(**json.loads(file.read_text()))

    place.mkdir(parents=True, exist_ok=True)
    examples = {**settings["examples"], "max_train": contexts}
    generate = {**settings.get("generate", {}), "contexts": contexts}
    config = {**settings, "examples": examples, "generate": generate}
    (place / "config.yaml").write_text(yaml.safe_dump(config))

    command = [sys.executable, "jobs/distill.py", "--config", str(place / "config.yaml")]
    begin = time.monotonic()
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--run", str(place / "run"), "--store", str(place / "store"), "--until", STAGES[-1]],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        watcher = Watcher(process)
        if process.wait():
            raise SystemExit(f"the job failed: {place / 'log'}")

    markers = {stage: json.loads((place / "run/stages" / f"{stage}.json").read_text()) for stage in STAGES}
    job = Job(
        contexts,
        {stage: marker["seconds"] for stage, marker in markers.items()},
        {stage: marker["counts"] for stage, marker in markers.items()},
        watcher.memory_mb,
        watcher.object_store_mb,
        {part.name: megabytes(part) for part in sorted((place / "run").iterdir()) if part.is_dir()},
    )

    print(f"{contexts} contexts: {time.monotonic() - begin:.0f} s", flush=True)
    file.write_text(json.dumps(vars(job)))
    return job


class Watcher(threading.Thread):
    """Notes the memory of a job's processes until it ends."""

    def __init__(self, job: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.memory_mb: dict[str, float] = {}
        self.object_store_mb = 0.0
        self._job = job
        self.start()

    def run(self) -> None:
        while self._job.poll() is None:
            with suppress(psutil.NoSuchProcess):
                driver = psutil.Process(self._job.pid)
                self._note("driver", driver)
                for process in driver.children(recursive=True):
                    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                        self._note(kind_of(process), process)
            time.sleep(0.5)

    def _note(self, kind: str, process: psutil.Process) -> None:
        # Private pages: without those of files, which the system reclaims, and of the object store.
        sizes = status_mb(process.pid)
        self.memory_mb[kind] = max(self.memory_mb.get(kind, 0), sizes.get("RssAnon", 0))
        self.object_store_mb = max(self.object_store_mb, sizes.get("RssShmem", 0))


def kind_of(process: psutil.Process) -> str:
    """The kind of a process, by Ray's name for it."""
    name = " ".join(process.cmdline()[:1]) or process.name()
    if name.startswith("ray::"):
        kind = name.removeprefix("ray::").split(".")[0]
        for worker in ("Worker", "Embedder", "TrainController", "RayTrainWorker"):
            if worker in kind:
                return worker
        return "other of Ray's workers"
    return "raylet" if name.endswith("raylet") else "EngineCore" if "EngineCore" in name else "Ray itself"


def status_mb(pid: int) -> dict[str, float]:
    """RssAnon and the other Rss figures of Linux."""
    with suppress(OSError):
        sizes: dict[str, float] = {}
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            words = line.split()
            if words[0].startswith("Rss"):
                sizes[words[0].rstrip(":")] = int(words[1]) / 1024
        return sizes
    return {}


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def line(jobs: list[Job], stage: str) -> tuple[float, float]:
    """The line through a stage's seconds in two jobs: fixed seconds, and seconds per context."""
    small, large = jobs[:2]
    growth_s = large.seconds[stage] - small.seconds[stage]
    slope = max(0.0, growth_s / (large.contexts - small.contexts))
    return max(0.0, large.seconds[stage] - slope * large.contexts), slope


def show_seconds(jobs: list[Job], predicted: dict[str, float]) -> None:
    table = Table(
        "stage", "fixed, s", "s by 1,000 contexts", f"{jobs[2].contexts} contexts, s", "predicted", "error"
    )
    for stage in STAGES:
        fixed, slope = line(jobs, stage)
        actual_s, predicted_s = jobs[2].seconds[stage], predicted[stage]
        error = f"{(actual_s - predicted_s) / predicted_s:+.0%}" if predicted_s else ""
        figures = (f"{fixed:.1f}", f"{1000 * slope:.2f}", f"{actual_s:.1f}", f"{predicted_s:.1f}")
        table.add_row(stage, *figures, error)

    actual_s, predicted_s = sum(jobs[2].seconds.values()), sum(predicted.values())
    error = f"{(actual_s - predicted_s) / predicted_s:+.0%}"
    table.add_row("together", "", "", f"{actual_s:.1f}", f"{predicted_s:.1f}", error)
    Console(width=120).print(table)


def show_memory(jobs: list[Job]) -> None:
    table = Table("private memory of one process, MB", *(f"{job.contexts} contexts" for job in jobs))
    kinds = sorted({kind for job in jobs for kind in job.memory_mb})
    for kind in kinds:
        table.add_row(kind, *(f"{job.memory_mb.get(kind, 0):.0f}" for job in jobs))
    table.add_row("object store, in use by one process", *(f"{job.object_store_mb:.0f}" for job in jobs))
    for dataset in jobs[-1].disk_mb:
        table.add_row(f"on disk: {dataset}", *(f"{job.disk_mb.get(dataset, 0):.1f}" for job in jobs))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
