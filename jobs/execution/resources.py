"""Whether the cluster can give what a job's processes need."""

import logging

import ray

from jobs.config import ConfigError, JobConfig
from jobs.execution.cluster import is_joined

logger = logging.getLogger(__name__)


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
