"""What can be known to be wrong before anything is started."""

from collections.abc import Callable
from functools import partial

import ray

from jobs.config import ConfigError, JobConfig
from student.config import TrainingConfig
from student.packaged import resolve_model
from teachers.candidates import RANKED_CANDIDATES
from teachers.config import EndpointTeacher
from teachers.conversations import check_source
from teachers.filters import filters
from teachers.packaged import check_model


def check_inputs(config: JobConfig) -> None:
    """Raises ConfigError where conversations or weights that the config names are missing."""
    _check("examples.conversations", lambda: check_source(config.examples.conversations))
    for name, teacher in config.teachers.items():
        if isinstance(teacher, EndpointTeacher):
            if teacher.tokenizer is not None:
                _check(f"teachers.{name}.tokenizer", partial(check_model, teacher.tokenizer))
        else:
            _check(f"teachers.{name}.model", partial(check_model, teacher.model))
    filters(config.filters)
    _check("candidates.retriever", lambda: resolve_model(config.candidates.retriever))
    _check("student.model", lambda: resolve_model(config.student.model))
    if config.examples.max_test < RANKED_CANDIDATES:
        raise ConfigError(
            f"examples.max_test: {config.examples.max_test} test replies are fewer than the "
            f"{RANKED_CANDIDATES} candidates of hits@1/{RANKED_CANDIDATES}"
        )


def check_resources(config: JobConfig) -> None:
    """Raises ConfigError where the running cluster can never give what the config asks for."""
    # An autoscaling cluster shows only the nodes it has; Ray itself waits for the others.
    cluster = ray.cluster_resources()
    trainings: dict[str, TrainingConfig] = {"student": config.student}
    if config.finetune.epochs:
        trainings["finetune"] = config.finetune
    wanted: dict[str, dict[str, float]] = {
        f"{name}.num_workers": {
            "CPU": training.num_workers * training.cpus_per_worker + 1,  # one reads the data
            "GPU": training.num_workers if training.use_gpu else 0,
        }
        for name, training in trainings.items()
    }
    for name, teacher in config.teachers.items():
        wanted[f"teachers.{name}.replicas"] = {
            "CPU": teacher.at_least() * teacher.num_cpus + 1,
            "GPU": teacher.at_least() * teacher.num_gpus,
        }
    for key, resources in wanted.items():
        for resource, amount in resources.items():
            if amount > cluster.get(resource, 0):
                raise ConfigError(
                    f"{key}: needs {amount:g} {resource}, the cluster has {cluster.get(resource, 0):g}"
                )


def _check(key: str, check: Callable[[], object]) -> None:
    try:
        check()
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None
