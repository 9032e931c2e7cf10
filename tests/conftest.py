"""Shared by every test: no network, fixed seeds, one small Ray cluster."""

import os

# Set before any test imports the libraries that read them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("WANDB_MODE", "offline")
# Ray Train collects reports once per health check, by default every 2 s: tiny students take many steps in it.
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
# As for a Ray that a job starts, see jobs.execution.cluster.
os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
# By default workers yield to every other process: beside busy ones on a few cores they do not get on.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
# Replicas inherit the environment that Ray was started with.
ADMIN_KEY = os.environ["REJOINDER_ADMIN_KEY"] = "for tests"

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from xdist.scheduler import LoadScopeScheduling

# These files read the run of the tiny job, which takes minutes.
_READ_THE_RUN = {
    "tests/jobs/comparison/test_compare.py",
    "tests/jobs/distillation/test_distill.py",
    "tests/jobs/sweeps/test_sweep.py",
    "tests/jobs/test_export.py",
    "tests/jobs/test_golden_job.py",
}


class SharedRunScheduling(LoadScopeScheduling):
    """Sends a file's tests to one process, and all that read the tiny job's run to one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "the tiny job's run" if file in _READ_THE_RUN else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedRunScheduling:
    return SharedRunScheduling(config, log)


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Start every test from the same random state."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray with four logical CPUs; a test stops whatever it starts on it."""
    import ray

    from serve.ingress import use_haproxy

    use_haproxy()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
