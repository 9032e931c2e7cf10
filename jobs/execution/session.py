"""What every job does before its first stage and after its last."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from jobs.config import ConfigError, JobConfig
from teachers.storage import without_credentials

if TYPE_CHECKING:
    from jobs.execution.job import Job

logger = logging.getLogger(__name__)
ConfigT = TypeVar("ConfigT", bound=JobConfig)


def run_main(main: Callable[[list[str]], None]) -> int:
    """Run a job with the command line's arguments; return the exit status, 2 for a user's mistake."""
    from jobs.execution.log import configure_logging

    _set_up_libraries()
    configure_logging(quiet="--quiet" in sys.argv)
    try:
        main(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {without_credentials(str(error))}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def started(config: ConfigT, location: str, stops_trainings: bool = False) -> "Iterator[Job[ConfigT]]":
    """Yield the job, on a Ray cluster that can do what the config asks for.

    `location` is a URI, a path or a name under runs/; for `stops_trainings` see `connect`.

    Raises:
        ConfigError: another job works in the run directory, or the cluster is too small.
    """
    import ray

    from jobs.execution.cluster import check_resources, connect
    from jobs.execution.job import Job
    from jobs.execution.lease import lease
    from jobs.execution.run_directory import RunDirectory, circumstances, locate
    from jobs.execution.tracking import Tracker

    run = RunDirectory(locate(location))
    with lease(run):
        connect(stops_trainings)
        try:
            check_resources(config)
            resolved = config.without_credentials()
            run.write_json({"config": resolved, **circumstances()}, "run.json")
            logger.info("run directory: %s", run.uri)
            with run.tracking_folder() as folder:
                tracker = Tracker(config.tracking.project, folder, resolved)
                yield Job(config, run, tracker)
                tracker.finish()
        finally:
            ray.shutdown()


def _set_up_libraries() -> None:
    """Have nothing fetched that the config did not name, and libraries' messages kept in their log files."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    # Processes that wait for a node bring one with their labels. Ray Data would ask beside them for a node
    # of any kind that holds a whole pool, where most of what there is is in use: more than all never is.
    for resource in ("CPU", "GPU", "MEMORY", "OBJECT_STORE_MEMORY"):
        os.environ.setdefault(f"RAY_DATA_DEFAULT_CLUSTER_SCALING_UP_{resource}_UTIL_THRESHOLD", "2")
