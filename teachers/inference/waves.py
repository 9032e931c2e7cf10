"""Teachers that work at the same time, as far as a cluster has room for them."""

from collections.abc import Mapping

from teachers.config import TeacherConfig


def plan_waves(teachers: Mapping[str, TeacherConfig], resources: Mapping[str, float]) -> list[list[str]]:
    """Return the names of teachers that run at the same time, in order; one that never fits runs alone."""
    waves: list[list[str]] = []
    free_cpus = free_gpus = 0.0

    for name, teacher in teachers.items():
        num_cpus = teacher.at_least() * teacher.num_cpus
        num_gpus = teacher.at_least() * teacher.num_gpus

        if not waves or num_cpus > free_cpus or num_gpus > free_gpus:
            waves.append([])
            free_cpus = resources.get("CPU", 0) - 1  # one reads and writes
            free_gpus = resources.get("GPU", 0)

        waves[-1].append(name)
        free_cpus -= num_cpus
        free_gpus -= num_gpus
    return waves
