"""Sweeps: W&B's file, and its trials by Ray Tune on a finished job's store."""

import json
import struct
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.proto.wandb_internal_pb2 import Record

from jobs.config import ConfigError
from jobs.distillation.config import parse
from jobs.execution.tracking import trial_name
from jobs.sweeps.config import EarlyTermination, SweepConfig, read_sweep
from tests.jobs.running import run_job

GRID: dict[str, Any] = {
    "name": "tiny",
    "method": "grid",
    "metric": {"name": "train/validation_mrr", "goal": "maximize"},
    "parameters": {"student.learning_rate": {"values": [1e-5, 1e-3]}, "targets.temperature": {"value": 2}},
}
LOCAL = ["--config", "configs/local.yaml"]


def test_whole_ends_make_whole_numbers_as_wandb_takes_them() -> None:
    ranges = {
        "student.epochs": {"min": 1, "max": 3},
        "student.kl_weight": {"min": 0.0, "max": 1.0, "distribution": "uniform"},
        "student.max_candidates": {"min": 2, "max": 9, "distribution": "int_uniform"},
        "student.learning_rate": {"min": 1e-5, "max": 1e-3},
    }
    sweep = SweepConfig(**{**GRID, "method": "random", "parameters": ranges})
    assert [parameter.is_whole for parameter in sweep.parameters.values()] == [True, False, True, False]
    assert (sweep.num_trials, SweepConfig(**GRID).num_trials) == (10, 2)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"method": "guess"}, "method: Input should be 'grid', 'random' or 'bayes'"),
        (
            {"metric": {"name": "eval/student/mrr", "goal": "maximize"}},
            "metric: unknown metric 'eval/student/mrr'; expected one of train/validation_mrr",
        ),
        ({"metric": {"name": "train/validation_mrr"}}, "metric.goal: Field required"),
        ({"early_terminate": {"type": "median"}}, "early_terminate.type: Input should be 'hyperband'"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate: expected `min_iter`, or `max_iter`"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 9}}, "early_terminate: expected `min_iter`"),
        (
            {"early_terminate": {"type": "hyperband", "max_iter": 9, "s": 3}},
            "early_terminate: max_iter / eta ** s is 0.33, which is before the first validation",
        ),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 1, "strict": True}},
            "early_terminate.strict: Input should be False",
        ),
        ({"parameters": {"student.epochs": {"values": [1, 1]}}}, "parameters.student.epochs: values has one"),
        ({"parameters": {"student.epochs": {"min": 1, "max": 3}}}, "parameters.student.epochs: a grid needs"),
        ({"parameters": {"student.epochs": {"values": []}}}, "parameters.student.epochs.values: List should"),
        ({"parameters": {"student.epochs": {}}}, "parameters.student.epochs: expected one of `value`"),
        (
            {"parameters": {"student.epochs": {"vaules": [1]}}},
            "parameters.student.epochs.vaules: unknown key",
        ),
        ({"parameters": {"generate.samples": {"values": [1]}}}, "generate.samples: expected keys of"),
        ({"parameters": {"student.nope": {"values": [1]}}}, "parameters.student.nope: unknown key"),
        (
            {"parameters": {"student.epochs": {"values": [1, 0]}}},
            "parameters.student.epochs: Input should be",
        ),
        (
            {"method": "bayes", "parameters": {"student.learning_rate": {"min": 1, "max": 0.1}}},
            "parameters.student.learning_rate: min has to be below max",
        ),
    ],
)
def test_a_wrong_sweep_is_named_in_one_line(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({**GRID, **change}))
    with pytest.raises(ConfigError) as error:
        read_sweep(file, parse(LOCAL)[0])
    assert str(error.value).startswith(f"--sweep {file}: ") and line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_trial_of_an_agent_of_wandbs_has_a_run_directory_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert trial_name() is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "k3")
    monkeypatch.setenv("WANDB_RUN_ID", "a1")
    assert trial_name() == "k3-a1"


@pytest.mark.parametrize(
    ("stopping", "ends"),
    [
        ({"min_iter": 3}, (3, None)),
        ({"min_iter": 2, "eta": 2}, (2, None)),
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"max_iter": 8, "s": 3, "eta": 2}, (1, 4)),
    ],
)
def test_trials_are_stopped_at_the_validations_that_wandb_names(
    stopping: dict[str, Any], ends: tuple[float, float | None]
) -> None:
    stopping_rule = EarlyTermination(type="hyperband", **stopping)
    assert (stopping_rule.first, stopping_rule.last) == ends


def test_a_bayesian_sweep_without_optuna_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.sweeps.config.find_spec", lambda name: None)
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({**GRID, "method": "bayes"}))
    with pytest.raises(ConfigError, match=r"method: bayes needs Optuna, of the extra `sweep`$"):
        read_sweep(file, parse(LOCAL)[0])


def wandb_group(file: Path) -> str:
    """The group in an offline run's file, which is LevelDB's log: 7 bytes, then records, each after its
    checksum (4 bytes), its length (2) and its kind (1, where it is whole)."""
    content, at = file.read_bytes(), 7
    while True:
        length, kind = struct.unpack_from("<HB", content, at + 4)
        assert kind == 1
        record = Record.FromString(content[at + 7 : at + 7 + length])
        if record.HasField("run"):
            return str(record.run.run_group)
        at += 7 + length


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1500)
def test_trials_train_on_what_the_teachers_made_and_ask_nothing(run: Path, config: Path) -> None:
    parameters = {
        "student.learning_rate": {"min": 1e-5, "max": 1e-1, "distribution": "log_uniform_values"},
        "student.max_candidates": {"min": 2, "max": 9},
        "targets.temperature": {"value": 2},
    }
    bayes = {**GRID, "method": "bayes", "run_cap": 3, "parameters": parameters}
    file = config.parent / "sweep.yaml"
    file.write_text(yaml.safe_dump(bayes))
    store = run.parent / "store"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")}
    location = run.parent / "sweep"
    options = ["--sweep", str(file), "--run", str(location)]
    output = run_job("sweep", config, *options)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")} == before
    plans = [line for line in output.splitlines() if " to do, " in line]
    assert len(plans) == 3 and all(": 0 to do" in line for line in plans)

    report = json.loads((location / "report/sweep.json").read_text())
    trials = report["trials"]
    assert len({trial["trial"] for trial in trials}) == 3
    assert [trial["score"] for trial in trials] == sorted((trial["score"] for trial in trials), reverse=True)
    for trial in trials:
        rate, candidates, temperature = (trial["changes"][key] for key in parameters)
        assert 1e-5 <= rate <= 1e-1 and candidates in range(2, 10) and temperature == 2
        folder = location / "trials" / trial["trial"]
        counts = json.loads((folder / "stages/train.json").read_text())["counts"]
        # The best checkpoint is the student, and its measure the trial's score.
        assert trial["score"] == pytest.approx(counts["validation_mrr"])
        assert (trial["validations"], trial["stopped"]) == (ceil(counts["steps"] / 2), False)
        assert (folder / "student/modules.json").is_file() and not (folder / "scores").exists()
        [tracked] = folder.glob("wandb/offline-run-*/*.wandb")
        assert wandb_group(tracked) == "tiny"
    assert f"best train/validation_mrr: {trials[0]['score']:.4f} by --student.learning_rate" in output
    assert "<h2>Settings and scores</h2>" in (location / "report/sweep.html").read_text()

    again = run_job("sweep", config, *options)
    assert "sweep: done before" in again and "trial 1" not in again
