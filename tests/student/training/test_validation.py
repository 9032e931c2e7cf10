"""What is validated: the rank of each context's reply among others that are wrong."""

import pytest
import torch

from student.config import StudentConfig
from student.training.validation import measured_against, validation_set
from tests.student.student_rows import example_rows


def test_what_is_right_for_the_same_context_counts_as_nothing() -> None:
    rows = example_rows(25, "validation")
    both = {**rows[0], "gold_response": rows[1]["gold_response"]}
    config = StudentConfig()
    held_out = validation_set([*rows, both], config)
    assert held_out is not None
    assert held_out.also_right == [[1], *[[]] * 24, [0]]
    scores = torch.full((26, 25), -1.0)
    scores[torch.arange(26), held_out.gold] = 0.5
    scores[0, 1] = scores[25, 0] = 1.0
    loss, ranked = measured_against(held_out, scores, 1.0)
    assert (ranked["mrr"], ranked["hits@1/20"]) == (1, 1)
    scores[0, 1] = scores[25, 0] = 9.0
    assert measured_against(held_out, scores, 1.0)[0] == pytest.approx(loss)
    scores[0, 2] = 1.0
    worse, ranked = measured_against(held_out, scores, 1.0)
    assert worse > loss and ranked["mrr"] == pytest.approx((25 + 1 / 2) / 26)
