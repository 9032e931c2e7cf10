"""The Ray cluster a job runs on, and whether it can give what the job's processes need."""

import logging
import os

import ray

from jobs.config import ConfigError, JobConfig
from serve.ingress import free_port, use_haproxy

logger = logging.getLogger(__name__)


def is_joined() -> bool:
    """Whether the cluster was there before this process: `ray job submit` and users set RAY_ADDRESS."""
    return bool(os.environ.get("RAY_ADDRESS"))


def connect(stops_trainings: bool = False) -> None:
    """Joins the cluster that is there, or starts one on this machine.

    Where trainings are stopped from outside, Ray Train frees what they had reserved only if it can ask the
    dashboard's server which are dead: without one a sweep soon waits for CPUs that nobody uses.
    """
    if is_joined():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        _keep_freed_memory()
        use_haproxy()
        # One machine, which nobody preempts: a process less for each training.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        dashboard_port = free_port() if stops_trainings else None
        if dashboard_port:
            # Ray Train would look for it among all clusters of this machine, and give up where there are two.
            os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard_port}"
        # Ray's CPUs are bookkeeping: beside the two training workers or an engine, the tasks that read and
        # write need one, also on a machine of two cores.
        ray.init(
            num_cpus=max(4, os.cpu_count() or 1),
            include_dashboard=stops_trainings,
            dashboard_port=dashboard_port,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    # Progress is told by jobs.execution.progress; Ray Data keeps its details in its log file.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A bucket that fails for longer than its client tries costs a task, not the job.
    context.retried_map_errors, context.max_map_retries = ["AWS Error"], 3
    # It warns that an engine is larger than the memory that was declared, which is not scheduled by.
    context.issue_detectors_config.detectors = []


def check_resources(config: JobConfig) -> None:
    """Raises ConfigError where this machine's Ray can never give what the config asks for.

    A joined cluster may grow: what it lacks now is logged, and Ray waits for it.
    """
    available = ray.cluster_resources()

    for demand in config.demands():
        for resource, amount in demand.each.items():
            needed = demand.count * amount + (resource == "CPU")  # one reads and writes the data
            if needed <= available.get(resource, 0):
                continue
            line = (
                f"{demand.key}: needs {needed:g} {resource}, the cluster has {available.get(resource, 0):g}"
            )
            if not is_joined():
                raise ConfigError(line)
            logger.warning("%s now; the job waits until it has more", line)


def _keep_freed_memory() -> None:
    """Has the processes of a local cluster keep the memory that they free, to use it again.

    Models on a CPU free and ask for buffers of many MiB at each step. By default glibc gives each back to
    the system and fetches it again, page by page (docs/performance.md has what that costs).
    """
    os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 40))
