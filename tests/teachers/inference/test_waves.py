"""Which teachers work at the same time."""

import pytest

from teachers.config import VllmTeacher
from teachers.inference.waves import plan_waves

SMALL = VllmTeacher(model="none", num_cpus=2)
LARGE = VllmTeacher(model="none", num_cpus=1, num_gpus=2, replicas=(2, 8))


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"CPU": 4}, [["a"], ["b"], ["large"]]),  # a laptop: in turns
        ({"CPU": 5, "GPU": 4}, [["a", "b"], ["large"]]),
        ({"CPU": 64, "GPU": 8}, [["a", "b", "large"]]),  # 2 + 2 + 2 CPUs, one to read and write; 4 GPUs
        ({"CPU": 64}, [["a", "b"], ["large"]]),  # its GPUs are to come by autoscaling
    ],
)
def test_teachers_run_side_by_side_where_the_cluster_has_room(
    resources: dict[str, float], expected: list[list[str]]
) -> None:
    assert plan_waves({"a": SMALL, "b": SMALL, "large": LARGE}, resources) == expected
