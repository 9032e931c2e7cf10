"""Trials by Ray Tune on a base run of toys: one that lags is stopped, and a killed sweep goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import psutil
import pytest
import yaml

from jobs.config import with_changes
from jobs.distillation.config import DistillationConfig, parse
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory, key_of
from jobs.execution.tracking import Tracker
from jobs.sweeps import trials
from jobs.sweeps.config import SweepConfig, read_sweep
from jobs.sweeps.trials import check_early_termination, room_for_trials, scheduler, side_by_side
from student.config import StudentConfig
from teachers.storage import open_uri, read_text
from tests.jobs.sweeps.trials_base import NUM_STEPS, base_job
from tests.s3_server import faulty_bucket

GRID: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "train/validation_loss", "goal": "minimize"},
    # The larger similarities are, the larger is the loss of random weights: by far.
    "parameters": {"student.similarity_scale": {"values": [1.0, 100.0]}},
}


def trained(folder: Path) -> dict[Path, int]:
    """When each student was trained."""
    return {marker: marker.stat().st_mtime_ns for marker in folder.glob("base/trials/*/stages/train.json")}


def test_trials_side_by_side_are_counted_by_the_scarcest_resource() -> None:
    on_cpus = StudentConfig(num_workers=2, cpus_per_worker=1)
    on_gpus = StudentConfig(num_workers=2, cpus_per_worker=1, use_gpu=True)
    assert room_for_trials(on_cpus, {"CPU": 9, "GPU": 1}) == 3
    assert room_for_trials(on_gpus, {"CPU": 64, "GPU": 5}) == 2
    assert room_for_trials(on_gpus, {"CPU": 64}) == room_for_trials(on_cpus, {"CPU": 2}) == 1


@pytest.mark.parametrize(
    ("method", "values", "at_once", "expected", "num_warnings"),
    [
        ("random", {"values": [1.0, 100.0]}, 4, 1, 1),
        ("bayes", {"min": 1, "max": 9}, 4, 1, 1),
        ("random", {"values": [1.0, 100.0]}, 1, 1, 0),
        ("random", {"values": [1.0, 100.0]}, None, 1, 0),
        ("random", {"min": 1.5, "max": 9.0}, 4, 4, 0),
        ("grid", {"values": [1.0, 100.0]}, 4, 4, 0),
        ("grid", {"values": [1.0, 100.0]}, None, None, 0),
    ],
)
def test_an_at_once_without_effect_is_told(
    method: str,
    values: dict[str, Any],
    at_once: int | None,
    expected: int | None,
    num_warnings: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    parameters = {"student.similarity_scale": values}
    assert (
        side_by_side(SweepConfig(**{**GRID, "method": method, "parameters": parameters}), at_once) == expected
    )
    assert len(caplog.messages) == num_warnings
    assert all(line.startswith("--at-once 4 has no effect: ") for line in caplog.messages)


def test_trials_that_would_be_compared_in_their_warm_up_are_refused() -> None:
    config = DistillationConfig.model_validate(yaml.safe_load(Path("configs/local.yaml").read_text()))
    sweep = read_sweep(Path("configs/sweep.yaml"), config)
    check_early_termination(sweep, config, num_contexts=9600)

    earlier = with_changes(DistillationConfig, config, {"student.checkpoint_every_steps": 50})
    with pytest.raises(
        ValueError,
        match=r"^early_terminate: validation 1 comes after 50 steps, within the 60 .* validation 2$",
    ):
        check_early_termination(sweep, earlier, num_contexts=9600)


def test_trials_are_stopped_at_some_validations_only_and_never_for_being_long() -> None:
    # At the third and the ninth, by the best third of those that came there.
    stopping = {"type": "hyperband", "max_iter": 27, "s": 2}
    asha = scheduler(SweepConfig(**GRID, early_terminate=stopping))

    def is_stopped(name: str, validation: int, loss: float) -> bool:
        result = {"validation": validation, "train/validation_loss": loss}
        return bool(asha.on_trial_result(None, running[name], result) == "STOP")

    running = {name: SimpleNamespace(trial_id=name) for name in ("first", "second", "third", "fourth")}
    for trial in running.values():
        asha.on_trial_add(None, trial)
    assert not any(is_stopped("first", number, 1.0) for number in range(1, 301))
    assert [is_stopped("second", number, 2.0) for number in (1, 2, 3)] == [False, False, True]
    assert [is_stopped("third", number, loss) for number, loss in ((3, 0.5), (8, 2.0), (9, 2.0))] == [
        False,
        False,
        True,
    ]
    assert not any(is_stopped("fourth", number, loss) for number, loss in ((3, 0.4), (9, 0.4), (27, 9.0)))
    # What a trained student ends with is no validation.
    assert asha.on_trial_result(None, running["fourth"], {"train/validation_loss": 9.0}) == "CONTINUE"


class KeptTracker:
    """A tracker that writes a file, and keeps what it was given."""

    made: ClassVar[list["KeptTracker"]] = []

    def __init__(self, project: str | None, folder: str, config: dict[str, Any], group: str) -> None:
        self.folder, self.config = Path(folder), config
        self.made.append(self)

    def finish(self) -> None:
        (self.folder / "wandb").mkdir()
        (self.folder / "wandb" / "run.wandb").write_text("numbers")


def test_a_trial_in_a_bucket_keeps_what_it_tracks_there_and_tracks_no_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(KeptTracker, "made", [])
    for name, stand_in in (
        ("Tracker", KeptTracker),
        ("make_targets", lambda job: None),
        ("_train", lambda job: {"train/validation_mrr": 0.5}),
        ("tune", SimpleNamespace(report=reported.append)),
    ):
        monkeypatch.setattr(trials, name, stand_in)
    with faulty_bucket() as bucket:
        filesystem, _ = open_uri(bucket.at(""))
        monkeypatch.setattr("teachers.storage._s3", lambda _: filesystem)
        config, _ = parse(["--config", "configs/local.yaml", "--store", "s3://KEY:SECRET@runs/store"])
        base = Job(config, RunDirectory("s3://KEY:SECRET@runs/base"), Tracker(None, ".", {}))

        changes = {"student.similarity_scale": 2.0}
        trials._trial(changes, base, "sweep")
        kept = f"s3://runs/base/trials/{key_of(changes)}/wandb/run.wandb"
        assert read_text(kept) == "numbers"
    [tracker] = KeptTracker.made
    assert tracker.config["store"] == "s3://runs/store"
    assert "SECRET" not in json.dumps(tracker.config)
    assert reported == [{"train/validation_mrr": 0.5, "trained": True}]


def command(folder: Path) -> list[str]:
    """Runs the sweep in a process, and on a Ray, of its own."""
    settings = {**GRID, "early_terminate": {"type": "hyperband", "min_iter": 1}}
    return [sys.executable, "-m", "tests.jobs.sweeps.trials_base", str(folder), yaml.safe_dump(settings)]


def sweep(folder: Path) -> str:
    """What it printed."""
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("ray_cluster")  # one that the sweep's own Ray must not be taken for
def test_a_killed_sweep_goes_on_and_stops_the_trial_that_lags_of_which_nothing_is_left(
    tmp_path: Path,
) -> None:
    base_job(tmp_path)
    first = subprocess.Popen(command(tmp_path))
    try:
        deadline = time.monotonic() + 480
        while not trained(tmp_path) and time.monotonic() < deadline:
            assert first.poll() is None
            time.sleep(0.05)
        its_own = psutil.Process(first.pid).children(recursive=True)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    # Two of Ray's own processes outlive a raylet that was not stopped.
    for process in psutil.wait_procs(its_own, timeout=10)[1]:
        process.kill()
    before = trained(tmp_path)
    assert len(before) == 1
    done = sweep(tmp_path)
    result = json.loads(done.splitlines()[-1])
    best, lagging = result["trials"]
    assert best["changes"] == {"student.similarity_scale": 1.0}
    assert (best["stopped"], best["validations"], best["error"]) == (False, NUM_STEPS, None)
    assert (lagging["stopped"], lagging["validations"], lagging["error"]) == (True, 1, None)
    assert lagging["score"] > best["score"]
    assert trained(tmp_path) == before
    assert f"trial 1 of 2: train/validation_loss {best['score']:.4f} · --student.similarity_scale 1" in done
    assert f"trial 2 of 2: train/validation_loss {lagging['score']:.4f}, stopped early · --student" in done
    # What it had reserved the next trial would wait for.
    assert result["left over"] == {"processes": [], "CPUs": 0}
