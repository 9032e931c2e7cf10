"""The trials of a sweep, by Ray Tune. Each branches off a base run after its teachers' work, trains a student
with other settings, and reports its validations.

    RUN/trials/KEY     of what was changed: what differs from the base, and the student
"""

import time
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from jobs import stages
from jobs.job import Job
from jobs.ladder import branch, make_targets
from jobs.run_directory import key_of
from jobs.sweep_config import Parameter, SweepConfig
from jobs.tracking import Tracker
from teachers.records import absolute

_SEED = 0
_WAITING = {"CPU": 0.01}
"""Of a trial's own process, which waits for its training; Ray Tune wants a resource to be named."""


class _Validations(TuneReportCallback):
    """Hands the reports that have a validation to Ray Tune; runs on Ray Train's controller."""

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        validated = {f"train/{name}": value for name, value in metrics[0].items()}
        if any(name.startswith("train/validation_") for name in validated):
            super().after_report(run_context, [validated], checkpoint)


class _Lines(tune.Callback):
    """A line for each trial that ends."""

    def __init__(self, sweep: SweepConfig) -> None:
        self._sweep, self._ended = sweep, 0

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        score = trial.last_result.get(self._sweep.metric.name)
        self._say(trial, "no validation" if score is None else f"{self._sweep.metric.name} {score:.4f}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._say(trial, "failed")

    def _say(self, trial: Any, outcome: str) -> None:
        self._ended += 1
        number = f"trial {self._ended} of {self._sweep.num_trials}"
        print(f"  {number}: {outcome} · {in_words(trial.config)}", flush=True)


def run_trials(base: Job, sweep: SweepConfig) -> list[dict[str, Any]]:
    """All trials, best first: `trial`, `changes`, `score` (None where there was none), `validations`,
    `stopped` (early), `error`. A student that was trained before with the same settings costs nothing.
    """
    training = base.config.student
    needed = training.num_workers * training.cpus_per_worker + 1  # one reads the data
    tuner = tune.Tuner(
        tune.with_resources(partial(_trial, base=base, group=sweep.name), _WAITING),
        param_space={key: _space(parameter, sweep) for key, parameter in sweep.parameters.items()},
        tune_config=tune.TuneConfig(
            num_samples=1 if sweep.method == "grid" else sweep.run_cap,
            max_concurrent_trials=max(1, int(ray.cluster_resources().get("CPU", 0) // needed)),
            search_alg=_searcher(sweep),
            scheduler=_scheduler(sweep),
        ),
        run_config=tune.RunConfig(
            name=f"tune-{int(time.time())}",
            storage_path=absolute(base.run.at("tune")),
            verbose=0,
            callbacks=[_Lines(sweep)],
        ),
    )
    trials = [_ended(result, sweep) for result in tuner.fit()]
    sign = -1 if sweep.metric.goal == "maximize" else 1
    return sorted(trials, key=lambda trial: (trial["score"] is None, sign * (trial["score"] or 0)))


def in_words(changes: dict[str, Any]) -> str:
    """As they would be written on the command line."""
    return " ".join(
        f"--{key} {value:g}" if isinstance(value, float) else f"--{key} {value}"
        for key, value in changes.items()
    )


def _trial(changes: dict[str, Any], base: Job, group: str) -> None:
    """Trains one student; runs in a process that Ray Tune starts."""
    config = base.config.changed(changes)
    job = branch(base, config, "trials", key_of(changes))
    folder = job.run.uri if "://" not in job.run.uri else "."
    job.tracker = Tracker(config.tracking.project, folder, config.model_dump(mode="json"), group)
    job.training_callbacks = [_Validations()]
    make_targets(job)
    reached = stages.train(job)
    job.tracker.finish()
    # Of the best checkpoint; all there is to tell where the student was trained before.
    best = {f"train/{name}": value for name, value in reached.items() if name.startswith("validation_")}
    tune.report({**best, "trained": True})


def _space(parameter: Parameter, sweep: SweepConfig) -> Any:
    """What Ray Tune draws a value from."""
    if parameter.values is not None:
        return tune.grid_search(parameter.values) if sweep.method == "grid" else tune.choice(parameter.values)
    if parameter.min is None or parameter.max is None:
        return parameter.value
    if parameter.is_whole:
        return tune.randint(int(parameter.min), int(parameter.max) + 1)
    draw = tune.loguniform if parameter.distribution == "log_uniform_values" else tune.uniform
    return draw(parameter.min, parameter.max)


def _searcher(sweep: SweepConfig) -> Any:
    """Draws the same again when the same sweep is run again."""
    if sweep.method == "bayes":
        mode = "max" if sweep.metric.goal == "maximize" else "min"
        return OptunaSearch(metric=sweep.metric.name, mode=mode, seed=_SEED)
    return BasicVariantGenerator(random_state=_SEED)


def _scheduler(sweep: SweepConfig) -> Any:
    """Stops trials that lag behind, if the sweep says so (ASHA, Li et al. 2020)."""
    if sweep.early_terminate is None:
        return None
    mode = "max" if sweep.metric.goal == "maximize" else "min"
    return ASHAScheduler(
        metric=sweep.metric.name, mode=mode, grace_period=int(sweep.early_terminate.get("min_iter", 1))
    )


def _ended(result: tune.Result, sweep: SweepConfig) -> dict[str, Any]:
    """A trial as a row of the report."""
    metric = sweep.metric.name
    curve = result.metrics_dataframe
    scores = [] if curve is None or metric not in curve else curve[metric].dropna().tolist()
    best = (max if sweep.metric.goal == "maximize" else min)(scores, default=None)
    return {
        "trial": key_of(result.config),
        "changes": result.config,
        "score": best,
        "validations": len(scores),
        "stopped": result.error is None and not (result.metrics or {}).get("trained", False),
        "error": None if result.error is None else str(result.error).strip().splitlines()[-1],
    }
