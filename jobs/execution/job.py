"""A job: what its stages share, and how each is done once."""

import time
from collections.abc import Callable
from typing import Any

from ray.train import UserCallback

from jobs.config import JobConfig
from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import Tracker


class Job:
    """One job: its config, its run directory, its tracker, and the keys of the stages so far."""

    def __init__(self, config: JobConfig, run: RunDirectory, tracker: Tracker) -> None:
        self.config = config
        self.teachers = dict(config.teachers)
        self.run = run
        self.tracker = tracker
        self.store = config.store or f"{run.uri.rsplit('/', 1)[0]}/store"
        self.keys: dict[str, str] = {}
        self.training_callbacks: list[UserCallback] = []

    def once(self, stage: str, key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Does the work unless it is done; returns its counts."""
        self.keys[stage] = key
        marker = self.run.read_json("stages", f"{stage}.json")
        if marker is not None and marker["key"] == key:
            print(f"{stage}: done before in {marker['seconds']:.0f} s")
            counts: dict[str, Any] = marker["counts"]
            return counts
        print(f"{stage} …", flush=True)
        start = time.monotonic()
        counts = dict(work())
        seconds = time.monotonic() - start
        self.run.write_json({"key": key, "seconds": seconds, "counts": counts}, "stages", f"{stage}.json")
        shown = _in_words(counts)
        print(f"{stage}: {seconds:.0f} s" + (f" · {shown}" if shown else ""), flush=True)
        for part, values in counts.items():
            if isinstance(values, dict) and _in_words(values):
                print(f"  {part}: {_in_words(values)}", flush=True)
        return counts


def _in_words(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if isinstance(count, int))
