"""A stage is done once for its settings and the stages before it; a child continues from its parent."""

from pathlib import Path

import pytest

from jobs.config import JobConfig
from jobs.distillation.config import STAGE_NAMES
from jobs.distillation.stages import STAGES
from jobs.execution.job import Counts, Job, Stage, name_of
from jobs.execution.run_directory import RunDirectory, key_of
from jobs.execution.tracking import Tracker


class Recorder:
    """Stages that note their names when they run."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.size = 1

    def stages(self) -> list[Stage[JobConfig]]:
        first = Stage("first", (), lambda job: [self.size], lambda job: self._run("first"))
        second = Stage("second", ("first",), lambda job: [], lambda job: self._run("second"))
        return [first, second]

    def _run(self, name: str) -> Counts:
        self.runs.append(name)
        return {"rows": len(self.runs)}


def test_a_key_does_not_depend_on_the_order_of_a_set() -> None:
    # 8 falls on the place of 0 in a small table: the order is that in which they came.
    assert str({0, 8}) != str({8, 0})
    assert key_of([{0, 8}]) == key_of([{8, 0}]) != key_of([{0, 7}])


def new_job(folder: Path) -> Job[JobConfig]:
    return Job(JobConfig(), RunDirectory(str(folder / "run")), Tracker(None, ".", {}))


def test_a_stage_is_done_again_only_for_other_settings_here_or_before_it(tmp_path: Path) -> None:
    recorder = Recorder()
    new_job(tmp_path).do_all(recorder.stages())
    assert recorder.runs == ["first", "second"]

    new_job(tmp_path).do_all(recorder.stages())
    assert recorder.runs == ["first", "second"]

    recorder.size = 2
    new_job(tmp_path).do_all(recorder.stages())
    assert recorder.runs == ["first", "second", "first", "second"]


def test_steps_end_with_the_one_named_until(tmp_path: Path) -> None:
    recorder = Recorder()
    new_job(tmp_path).do_all(recorder.stages(), until="first")
    assert recorder.runs == ["first"]


def test_a_check_runs_right_after_its_step_and_ends_the_job(tmp_path: Path) -> None:
    recorder = Recorder()

    def refuse() -> None:
        raise ValueError("too few rows")

    with pytest.raises(ValueError, match="too few rows"):
        new_job(tmp_path).do_all(recorder.stages(), checks={"first": refuse})
    assert recorder.runs == ["first"]


def test_a_stage_that_does_not_apply_leaves_no_key(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    job.do(Stage("never", (), lambda job: [], lambda job: {}, applies=lambda job: False))
    assert job.keys == {}


def test_counts_reach_then_also_when_the_stage_was_done_before(tmp_path: Path) -> None:
    counts: list[Counts] = []
    stage = Stage("one", (), lambda job: [], lambda job: {"rows": 3}, lambda job, done: counts.append(done))
    new_job(tmp_path).do(stage)
    new_job(tmp_path).do(stage)
    assert counts == [{"rows": 3}, {"rows": 3}]


def test_a_child_reads_borrowed_datasets_from_its_parent_and_writes_its_own(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    job.keys["first"] = "key"
    child = job.child(job.config, "children", "one", borrows=("examples",))

    assert child.run.at("examples") == job.run.at("examples")
    assert child.run.at("targets") == f"{job.run.uri}/children/one/targets"
    assert child.keys == job.keys and child.keys is not job.keys
    assert child.store == job.store


def test_until_knows_the_names_of_all_steps() -> None:
    assert tuple(map(name_of, STAGES)) == STAGE_NAMES


@pytest.mark.parametrize("size", [1, 2])
def test_a_stages_key_depends_on_its_settings(tmp_path: Path, size: int) -> None:
    job = new_job(tmp_path)
    [first, _] = Recorder().stages()
    other = Stage("first", (), lambda job: [size], lambda job: {})
    assert (job.key(first) == job.key(other)) == (size == 1)
