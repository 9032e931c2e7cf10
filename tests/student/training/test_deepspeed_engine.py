"""DeepSpeed's configuration and the learning rate, without an engine."""

import pytest

from student.config import StudentConfig
from student.training.deepspeed_engine import deepspeed_config, learning_rate_share


def test_the_users_deepspeed_configuration_takes_precedence() -> None:
    config = StudentConfig(
        zero_stage=2,
        offload_optimizer=True,
        accumulation_steps=3,
        gradient_clipping=0.5,
        deepspeed={"zero_optimization": {"overlap_comm": False}, "steps_per_print": 7},
    )

    merged = deepspeed_config(config)
    assert merged["zero_optimization"]["stage"] == 2
    assert merged["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    assert merged["zero_optimization"]["overlap_comm"] is False
    assert (merged["gradient_accumulation_steps"], merged["gradient_clipping"]) == (3, 0.5)
    assert merged["steps_per_print"] == 7


def test_the_learning_rate_rises_then_falls() -> None:
    # 10 steps, 2 of warm-up: 1/2, 1, then down by ninths from 8/9.
    shares = [learning_rate_share(step, 10, 0.2) for step in range(10)]
    assert shares == pytest.approx([1 / 2, 1, *(ninths / 9 for ninths in range(8, 0, -1))])
