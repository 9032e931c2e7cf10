"""The trials of a sweep, by Ray Tune.

Each continues from a base run after its teachers' work, trains a student with other settings, and reports
its validations.

    RUN/trials/KEY     datasets that differ from the base's, and the student; KEY is of the changes
"""

import logging
import time
from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Any

import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from jobs.comparison.systems import branch, make_targets
from jobs.distillation import inputs as distillation
from jobs.distillation.config import DistillationConfig
from jobs.distillation.stages import DistillationJob
from jobs.execution.run_directory import key_of
from jobs.execution.tracking import Tracker
from jobs.stages.training import TRAIN, training_reports
from jobs.sweeps.config import Parameter, SweepConfig
from student.config import StudentConfig
from teachers.storage import absolute

_SEED = 0
_NO_LAST = 1e9
"""Validations that no training has."""
_WAITING = {"CPU": 0.01}
"""Resources of a trial's process, which waits for its training; Ray Tune requires at least one."""
_KILLED_WITHIN_S = 5
"""Time that processes of a stopped trial may outlive it: Ray gives them 0.2 s."""


class _Validations(TuneReportCallback):
    """Hands the reports that have a validation to Ray Tune; runs on Ray Train's controller."""

    def __init__(self, every_steps: int) -> None:
        super().__init__()
        self._every_steps = every_steps

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        for validation in _validations(metrics[:1], self._every_steps):
            super().after_report(run_context, [validation], None)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        # Where a trial is stopped, this controller is killed a moment after its workers. Were it to replace
        # them in between, their CPUs would stay reserved: Ray Train's cleaner is told of them at the end of
        # their start.
        time.sleep(_KILLED_WITHIN_S)

    def wait(self) -> None:
        """Until Ray Tune has taken all: an earlier report of the trial's own process would make it hang."""
        while not self._training_actor_item_queue.empty():
            time.sleep(0.1)


logger = logging.getLogger(__name__)


class _Lines(tune.Callback):
    """A line for each trial that ends."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep, self._ended = sweep, 0

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        scores = trial.metric_analysis.get(self._sweep.metric.name)
        if scores is None:
            self._log(trial, "no validation")
            return
        early = "" if trial.last_result.get("trained") else ", stopped early"
        self._log(trial, f"{self._sweep.metric.name} {scores[self._sweep.metric.mode]:.4f}{early}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._log(trial, "failed")

    def _log(self, trial: Any, outcome: str) -> None:
        self._ended += 1
        logger.info(
            "  trial %d of %d: %s · %s", self._ended, self._sweep.num_trials, outcome, in_words(trial.config)
        )


def check_examples(base: DistillationJob, sweep: SweepConfig) -> None:
    """Check the examples before teachers work.

    Raises:
        ValueError: there are too few for a step, or for validation, by which trials are judged; or trials
            would be stopped as they warm up.
    """
    distillation.check_examples(base, ("validation",))
    counts = base.run.read_json("stages", "examples.json")["counts"]
    check_early_termination(sweep, base.config, counts["train examples"])


def run_trials_once(
    base: DistillationJob, sweep: SweepConfig, at_once: int | None = None
) -> list[dict[str, Any]]:
    """Return the trials of `run_trials`, which run where this sweep has not been done before."""
    key = key_of(base.keys["targets"], base.config.student.model_dump(), sweep.model_dump())
    return list(base.once("sweep", key, lambda: {"trials": run_trials(base, sweep, at_once)})["trials"])


def run_trials(base: DistillationJob, sweep: SweepConfig, at_once: int | None = None) -> list[dict[str, Any]]:
    """Run all trials, `at_once` side by side, or as many as the cluster has room for; return them best first.

    A trial has `trial`, `changes`, `score` (None where there was none), `validations`, `stopped` (early) and
    `error`. A student that was trained before with the same settings costs nothing.
    """
    at_once = side_by_side(sweep, at_once)
    if at_once is None:
        at_once = room_for_trials(base.config.student, ray.cluster_resources())

    tuner = tune.Tuner(
        tune.with_resources(partial(_trial, base=base, group=sweep.name), _WAITING),
        param_space={key: _space(parameter, sweep) for key, parameter in sweep.parameters.items()},
        tune_config=tune.TuneConfig(
            num_samples=1 if sweep.method == "grid" else sweep.run_cap,
            search_alg=_searcher(sweep, at_once),
            scheduler=scheduler(sweep),
        ),
        run_config=tune.RunConfig(
            name=f"tune-{int(time.time())}",
            storage_path=absolute(base.run.at("tune")),
            verbose=0,
            callbacks=[_Lines(sweep)],
        ),
    )

    trials = [_as_row(result, sweep) for result in tuner.fit()]
    sign = -1 if sweep.metric.mode == "max" else 1
    return sorted(trials, key=lambda trial: (trial["score"] is None, sign * (trial["score"] or 0)))


def side_by_side(sweep: SweepConfig, at_once: int | None) -> int | None:
    """Return how many trials may run at the same time: `at_once`, or 1 where trials may repeat settings."""
    if not sweep.may_repeat:
        return at_once
    # Trials of the same settings share a folder: the second is to find what the first has done.
    if at_once is not None and at_once > 1:
        logger.warning(
            "--at-once %d has no effect: a %s sweep without a continuous range may draw settings twice, "
            "so its trials run one after the other",
            at_once,
            sweep.method,
        )
    return 1


def room_for_trials(training: StudentConfig, resources: Mapping[str, float]) -> int:
    """Return how many trainings the resources hold side by side, at least one."""
    room = resources.get("CPU", 0) // (training.num_workers * training.cpus_per_worker + 1)  # one beside them
    if training.use_gpu:
        room = min(room, resources.get("GPU", 0) // training.num_workers)
    return max(1, int(room))


def check_early_termination(sweep: SweepConfig, config: DistillationConfig, num_contexts: int) -> None:
    """Check that trials are not compared before the learning rate of the longest has reached its peak.

    Raises:
        ValueError: they are.
    """
    if sweep.early_terminate is None:
        return

    student = config.student
    epochs = sweep.largest("student.epochs", student.epochs)
    warmup_share = sweep.largest("student.warmup_share", student.warmup_share)
    warmup = epochs * (num_contexts // min(student.global_batch_size, num_contexts)) * warmup_share
    first = ceil(sweep.early_terminate.first)
    first_step = first * student.checkpoint_every_steps
    if first_step < warmup:
        raise ValueError(
            f"early_terminate: validation {first} comes after {first_step} steps, "
            f"within the {warmup:.0f} in which the longest trial warms up; expected at least validation "
            f"{ceil(warmup / student.checkpoint_every_steps)}"
        )


def in_words(changes: dict[str, Any]) -> str:
    """Return the changes as they would be written on the command line."""
    options = []
    for key, value in changes.items():
        options.append(f"--{key} {value:g}" if isinstance(value, float) else f"--{key} {value}")
    return " ".join(options)


def _trial(changes: dict[str, Any], base: DistillationJob, group: str) -> None:
    """Trains one student; runs in a process that Ray Tune starts."""
    config = base.config.changed(changes)
    job = branch(base, config, "trials", key_of(changes))
    with job.run.tracking_folder() as folder:
        job.tracker = Tracker(config.tracking.project, folder, config.without_credentials(), group)
        make_targets(job)
        best = _train(job)
        job.tracker.finish()

    tune.report({**best, "trained": True})


def _train(job: DistillationJob) -> dict[str, Any]:
    """Train the student, report its validations to Ray Tune, and return those of the best checkpoint."""
    # What an earlier attempt has done, so that trials are compared by all of their validations.
    every_steps = job.config.student.checkpoint_every_steps
    for validation in _validations(training_reports(job).lines(), every_steps):
        tune.report(validation)

    callback = _Validations(every_steps)
    job.training_callbacks = [callback]
    reached = job.do(TRAIN)
    callback.wait()

    # It is no further validation, and has no number.
    return {f"train/{name}": value for name, value in reached.items() if name.startswith("validation_")}


def _validations(reports: list[dict[str, Any]], every_steps: int) -> list[dict[str, Any]]:
    """Those reports that have a validation, with its `validation` number, from 1."""
    return [
        {f"train/{name}": value for name, value in report.items()}
        | {"validation": ceil(report["step"] / every_steps)}
        for report in reports
        if any(name.startswith("validation_") for name in report)
    ]


def _space(parameter: Parameter, sweep: SweepConfig) -> Any:
    """The space that Ray Tune draws a value from."""
    if parameter.values is not None:
        return tune.grid_search(parameter.values) if sweep.method == "grid" else tune.choice(parameter.values)
    if parameter.min is None or parameter.max is None:
        return parameter.value
    if parameter.is_whole:
        return tune.randint(int(parameter.min), int(parameter.max) + 1)
    draw = tune.loguniform if parameter.distribution == "log_uniform_values" else tune.uniform
    return draw(parameter.min, parameter.max)


def _searcher(sweep: SweepConfig, at_once: int) -> Any:
    """Draws the same again when the same sweep is run again; `at_once` trials may run side by side.

    (Tune's `max_concurrent_trials` holds for some searchers and not for others.)
    """
    if sweep.method != "bayes":
        return BasicVariantGenerator(max_concurrent=at_once, random_state=_SEED)

    import optuna  # of the extra `sweep`

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # By itself it draws the first ten at random, and so the whole of a small sweep.
    sampler = optuna.samplers.TPESampler(n_startup_trials=max(2, min(10, sweep.run_cap // 3)), seed=_SEED)
    search = OptunaSearch(metric=sweep.metric.name, mode=sweep.metric.mode, sampler=sampler)
    return ConcurrencyLimiter(search, max_concurrent=at_once)


def scheduler(sweep: SweepConfig) -> Any:
    """Stops trials that lag behind, if the sweep says so (ASHA, Li et al. 2020), and none for being long."""
    stopping = sweep.early_terminate
    if stopping is None:
        return None
    # Half a step above the last, so that rounding does not lose it.
    last = _NO_LAST if stopping.last is None else stopping.last * stopping.eta**0.5
    return ASHAScheduler(
        time_attr="validation",
        metric=sweep.metric.name,
        mode=sweep.metric.mode,
        grace_period=stopping.first,
        max_t=max(last, stopping.first),
        reduction_factor=stopping.eta,
        stop_last_trials=False,
    )


def _as_row(result: tune.Result, sweep: SweepConfig) -> dict[str, Any]:
    """A trial as a row of the report."""
    metric, config = sweep.metric.name, result.config
    curve = result.metrics_dataframe
    scores = [] if curve is None or metric not in curve else curve[metric].dropna().tolist()
    best = (max if sweep.metric.mode == "max" else min)(scores, default=None)
    is_complete = bool((result.metrics or {}).get("trained", False))

    return {
        "trial": key_of(config),
        "changes": config,
        "score": best,
        "validations": 0 if curve is None or "validation" not in curve else int(curve["validation"].max()),
        "stopped": result.error is None and not is_complete,
        "error": None if result.error is None else str(result.error).strip().splitlines()[-1],
    }
