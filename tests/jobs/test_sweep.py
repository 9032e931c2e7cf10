"""Sweeps: W&B's file, and its trials by Ray Tune on a finished job's store."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.config import ConfigError, parse
from jobs.start import trial_name
from jobs.sweep_config import SweepConfig, read_sweep
from jobs.sweep_page import sweep_page
from tests.jobs.running import run_job

GRID: dict[str, Any] = {
    "name": "tiny",
    "method": "grid",
    "metric": {"name": "train/validation_mrr", "goal": "maximize"},
    "parameters": {"student.learning_rate": {"values": [1e-5, 1e-3]}, "targets.temperature": {"value": 2}},
}
DRAWN = "<h2>Settings and scores</h2>"
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
        ({"metric": {"name": "eval/student/mrr"}}, "metric: 'eval/student/mrr' is none of the validation's"),
        ({"parameters": {"student.epochs": {"min": 1, "max": 3}}}, "parameters.student.epochs: a grid needs"),
        ({"parameters": {"student.epochs": {"values": []}}}, "parameters.student.epochs.values: List should"),
        ({"parameters": {"student.epochs": {}}}, "parameters.student.epochs: wanted is one of `value`"),
        ({"parameters": {"student.epochs": {"vaules": [1]}}}, "parameters.student.epochs.vaules: Extra"),
        ({"parameters": {"generate.samples": {"values": [1]}}}, "generate.samples: wanted are keys of"),
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


def test_the_page_shows_every_trial_and_escapes_what_failed() -> None:
    changes = {"student.learning_rate": 1e-5, "targets.temperature": 2}
    common = {"trial": "0a", "changes": changes, "validations": 1, "stopped": False, "error": None}
    trials = [
        {**common, "score": 0.5, "validations": 3},
        {**common, "score": 0.25, "stopped": True, "changes": {**changes, "student.learning_rate": 1e-3}},
        {**common, "score": None, "validations": 0, "error": "<b>too large</b>"},
    ]
    page = sweep_page(SweepConfig(**GRID), trials)
    assert "Best: <code>--student.learning_rate 1e-05 --targets.temperature 2</code>" in page
    table = page.split("</script>")[-1]
    assert "0.5000" in table and "early" in table and "&lt;b&gt;too large" in table and "<b>" not in table
    assert DRAWN in page
    # Nothing to draw: no trial has a score.
    assert DRAWN not in sweep_page(SweepConfig(**GRID), trials[2:])


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(1500)
def test_trials_train_on_what_the_teachers_made_and_ask_nothing(run: Path, config: Path) -> None:
    file = config.parent / "sweep.yaml"
    file.write_text(yaml.safe_dump(GRID))
    store = run.parent / "store"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")}
    location = run.parent / "sweep"
    output = run_job("sweep", config, "--sweep", str(file), "--run", str(location))
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")} == before
    asked = [line for line in output.splitlines() if " to do, " in line]
    assert len(asked) == 3 and all(": 0 to do" in line for line in asked)

    found = json.loads((location / "report/sweep.json").read_text())
    trials = found["trials"]
    assert sorted(trial["changes"]["student.learning_rate"] for trial in trials) == [1e-5, 1e-3]
    assert [trial["score"] for trial in trials] == sorted((trial["score"] for trial in trials), reverse=True)
    for trial in trials:
        folder = location / "trials" / trial["trial"]
        counts = json.loads((folder / "stages/train.json").read_text())["counts"]
        # The best checkpoint is the student, and its measure the trial's score.
        assert trial["score"] == pytest.approx(counts["validation_mrr"])
        assert (folder / "student/modules.json").is_file() and not (folder / "scores").exists()
        assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    assert f"best train/validation_mrr: {trials[0]['score']:.4f} by --student.learning_rate" in output
    assert DRAWN in (location / "report/sweep.html").read_text()

    again = run_job("sweep", config, "--sweep", str(file), "--run", str(location))
    assert "sweep: done before" in again and "trial 1" not in again
