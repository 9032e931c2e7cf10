"""Validation: the rank of each context's response among incorrect ones."""

import pytest
import torch

from student.config import StudentConfig
from student.training.errors import TrainingError
from student.training.validation import held_out_metrics, validation_set
from student.training.worker_loop import check_finite
from tests.student.student_rows import example_rows


def test_other_correct_responses_of_a_context_are_ignored() -> None:
    rows = example_rows(25, "validation")
    both = {**rows[0], "gold_response": rows[1]["gold_response"]}
    config = StudentConfig()
    held_out = validation_set([*rows, both], config)
    assert held_out is not None
    assert held_out.excluded == [{1}, *[set()] * 24, {0}]
    scores = torch.full((26, 25), -1.0)
    scores[torch.arange(26), held_out.gold] = 0.5
    scores[0, 1] = scores[25, 0] = 1.0
    loss, ranked = held_out_metrics(held_out, scores, 1.0)
    assert (ranked["mrr"], ranked["hits@1/20"]) == (1, 1)
    scores[0, 1] = scores[25, 0] = 9.0
    assert held_out_metrics(held_out, scores, 1.0)[0] == pytest.approx(loss)
    scores[0, 2] = 1.0
    worse, ranked = held_out_metrics(held_out, scores, 1.0)
    assert worse > loss and ranked["mrr"] == pytest.approx((25 + 1 / 2) / 26)


def test_what_was_said_and_other_responses_of_the_conversation_are_not_ranked() -> None:
    rows = example_rows(25, "validation")
    rows[0]["context"] = [{"role": "user", "content": text} for text in ("W4, w4!", "w0")]
    rows[0]["conversation_id"] = rows[2]["conversation_id"]
    held_out = validation_set(rows, StudentConfig())
    assert held_out is not None
    assert held_out.excluded == [{2, 4}, set(), {0}, *[set()] * 22]
    assert not {2, 4} & set(held_out.candidates[0]) and 0 not in held_out.candidates[2]


def test_own_turns_that_are_negatives_are_ranked_for_their_context_alone() -> None:
    rows = example_rows(25, "validation")
    rows[0]["context"] = [{"role": "user", "content": text} for text in ("w1 w1", "a turn")]
    held_out = validation_set(rows, StudentConfig(encoders="separate", own_turn_negatives=2))
    assert held_out is not None
    # "w1 w1" is a response of the set; the turns of all contexts follow the 25 responses.
    assert held_out.own_turns[:2] == [[1, 25], [26]] and held_out.num_responses == 25

    scores = torch.full((25, len(held_out.responses)), -1.0)
    scores[torch.arange(25), held_out.gold] = 0.5
    scores[1, 25] = 9.0
    _, metrics = held_out_metrics(held_out, scores, 1.0)
    assert metrics["mrr"] == 1
    scores[0, [1, 25]] = 9.0
    _, metrics = held_out_metrics(held_out, scores, 1.0)
    assert metrics["mrr"] == pytest.approx((24 + 1 / 3) / 25)
    assert metrics["hits@1/20"] == 1


def test_scores_that_are_nan_have_no_rank_and_a_loss_that_ends_the_training() -> None:
    held_out = validation_set(example_rows(25, "validation"), StudentConfig())
    assert held_out is not None
    scores = torch.zeros(25, 25)
    scores[3, 4] = torch.nan
    loss, ranked = held_out_metrics(held_out, scores, 1.0)
    assert ranked == {}
    with pytest.raises(TrainingError, match=r"^step 3 of 9: the validation loss is nan; lower student\."):
        check_finite({"validation_loss": loss.item()}, 3, 9, "student")
