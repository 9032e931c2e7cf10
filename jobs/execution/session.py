"""What every job does before its first stage and after its last."""

import logging
import os
import re
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
    """Run a job with the command line's arguments; return the exit status.

    It is 2 for a user's mistake, 1 where storage or a server failed for longer than its client tries, and
    130, as of a shell, for a job that was interrupted.
    """
    from jobs.execution.log import configure_logging

    _set_up_libraries()
    configure_logging(quiet="--quiet" in sys.argv)
    try:
        main(sys.argv[1:])
    except (ConfigError, ValueError) as error:
        print(f"error: {without_credentials(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command resumes the job", file=sys.stderr)
        return 130
    except Exception as error:
        line = _system_error(error)
        if line is None:
            raise
        print(f"error: {without_credentials(line)}", file=sys.stderr)
        return 1
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


def _system_error(error: Exception) -> str | None:
    """Return name and message of an OSError, raised here or in a process of Ray's; None for other errors."""
    from ray.exceptions import RayError, RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, OSError):
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"

    if not isinstance(error, RayError):
        return None
    # Ray Data keeps of an error in our code its traceback alone, under one of its own.
    raised: list[str] = re.findall(r"^(?!ray\.)[\w.]+(?:Error|Exception): .*", str(error), re.MULTILINE)
    return raised[-1] if raised and raised[-1].startswith("OSError: ") else None


def _set_up_libraries() -> None:
    """Have nothing fetched that the config did not name, and libraries' messages kept in their log files."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A thread that still waits when a job is interrupted would start another cluster.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

    # Processes that wait for a node bring one with their labels. Ray Data would ask beside them for a node
    # of any kind that holds a whole pool, where most of what there is is in use: more than all never is.
    for resource in ("CPU", "GPU", "MEMORY", "OBJECT_STORE_MEMORY"):
        os.environ.setdefault(f"RAY_DATA_DEFAULT_CLUSTER_SCALING_UP_{resource}_UTIL_THRESHOLD", "2")
