"""Numbers of the student's config."""

import pytest
from pydantic import ValidationError

from student.config import FinetuneConfig, PoolsConfig, SparsityConfig, StudentConfig


def test_steps_are_a_whole_number_of_accumulations_and_at_least_one() -> None:
    config = StudentConfig(global_batch_size=32, epochs=3, accumulation_steps=4)
    assert config.num_steps(100) == 8  # of 3 steps an epoch
    assert config.model_copy(update={"accumulation_steps": 3}).num_steps(10) == 3
    with pytest.raises(
        ValueError,
        match=r"^student\.accumulation_steps: expected at most the 3 steps of the training, got 4$",
    ):
        config.num_steps(10)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "-inf", "Infinity"])
def test_no_number_is_infinite_or_none(value: object) -> None:
    for model, key in (
        (StudentConfig, "learning_rate"),
        (StudentConfig, "gradient_clipping"),
        (StudentConfig, "kl_weight"),
        (FinetuneConfig, "learning_rate"),
        (SparsityConfig, "flops"),
        (PoolsConfig, "depth"),
    ):
        with pytest.raises(ValidationError):
            model.model_validate({key: value})
