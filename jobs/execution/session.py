"""What every job does before its first stage and after its last."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.config import JobConfig

if TYPE_CHECKING:
    from jobs.execution.run_directory import RunDirectory
    from jobs.execution.tracking import Tracker


@contextmanager
def started(
    config: JobConfig, location: str, stops_trainings: bool = False
) -> "Iterator[tuple[RunDirectory, Tracker]]":
    """The run directory and the tracker of a job, on a Ray cluster that can do what the config asks for.

    `location` is a URI, a path or a name under runs/; for `stops_trainings` see `connect`.

    Raises:
        ConfigError: what the config names is missing, or the cluster too small.
    """
    _set_up_libraries()
    from jobs.execution.inputs import check_inputs

    check_inputs(config)

    import ray

    from jobs.execution.cluster import connect
    from jobs.execution.inputs import check_resources
    from jobs.execution.run_directory import RunDirectory, circumstances
    from jobs.execution.tracking import Tracker

    run = RunDirectory(location if "/" in location else str(Path("runs") / location))
    connect(stops_trainings)
    try:
        check_resources(config)
        resolved = config.model_dump(mode="json")
        run.write_json({"config": resolved, **circumstances()}, "run.json")
        tracker = Tracker(config.tracking.project, run.uri if "://" not in run.uri else ".", resolved)
        print(f"run directory: {run.uri}")
        yield run, tracker
        tracker.finish()
    finally:
        ray.shutdown()


def trial_name() -> str | None:
    """The run directory's name of a trial that W&B's agent started, since trials must not share one."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return f"{sweep}-{run}" if sweep and run else None


def _set_up_libraries() -> None:
    """Nothing is fetched that the config did not name, and libraries' chatter stays in their log files."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Processes that wait for a node bring one with their labels. Ray Data would ask beside them for a node
    # of any kind that holds a whole pool, where most of what there is is in use: more than all never is.
    for resource in ("CPU", "GPU", "MEMORY", "OBJECT_STORE_MEMORY"):
        os.environ.setdefault(f"RAY_DATA_DEFAULT_CLUSTER_SCALING_UP_{resource}_UTIL_THRESHOLD", "2")
