"""What a training says of a lack of memory."""

import pytest
import torch

from student.training.errors import TrainingError, memory_advice


def test_an_out_of_memory_error_advises_a_smaller_batch() -> None:
    with (
        pytest.raises(TrainingError, match=r"out of memory; lower student\.micro_batch_size"),
        memory_advice("lower student.micro_batch_size"),
    ):
        torch.empty(10**15)
    with pytest.raises(RuntimeError, match="another"), memory_advice("lower it"):
        raise RuntimeError("another")
