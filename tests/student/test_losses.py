"""The losses against numbers worked by hand."""

import math

import pytest
import torch

from student.losses import cross_entropy, g2r_loss, kl_divergence


def mask(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_each_positive_competes_with_the_negatives_only() -> None:
    scores = torch.log(torch.tensor([[1.0, 2.0, 3.0, 4.0], [2.0, 6.0, 1.0, 1.0]]))
    positives = mask([1, 1, 0, 0], [1, 0, 0, 0])
    # Row 0: negatives 3 + 4 = 7, positives 1 and 2: -log(1/8), -log(2/9). Row 1: -log(2 / (2+6+1+1)).
    expected = ((math.log(8) + math.log(9 / 2)) / 2 + math.log(5)) / 2
    assert cross_entropy(scores, positives, ~positives).item() == pytest.approx(expected, rel=1e-6)


def test_a_column_that_is_neither_positive_nor_negative_takes_no_part() -> None:
    scores = torch.log(torch.tensor([[1.0, 3.0, 100.0]]))
    found = cross_entropy(scores, mask([1, 0, 0]), mask([0, 1, 0]))
    assert found.item() == pytest.approx(math.log(4), rel=1e-6)


def test_a_row_without_negatives_adds_nothing_and_has_a_finite_gradient() -> None:
    scores = torch.tensor([[3.0, -2.0]], requires_grad=True)
    loss = cross_entropy(scores, mask([1, 1]), mask([0, 0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert scores.grad is not None and scores.grad.tolist() == [[0.0, 0.0]]


def test_cross_entropy_is_finite_where_exponentials_overflow() -> None:
    # -log(e^-500 / (e^-500 + e^500)) = 1000
    assert cross_entropy(torch.tensor([[-500.0, 500.0]]), mask([1, 0]), mask([0, 1])).item() == pytest.approx(
        1000.0
    )


def test_kl_divergence_is_of_the_targets_from_the_students_own_softmax() -> None:
    scores = torch.log(torch.tensor([[1.0, 3.0, 100.0]]))
    targets = torch.tensor([[0.5, 0.5, 0.0]])
    # p = (1/4, 3/4), the third column belongs to another context:
    # 0.5·log(0.5 / 0.25) + 0.5·log(0.5 / 0.75) = 0.5·log(4/3)
    found = kl_divergence(scores, targets, mask([1, 1, 0]), temperature=1.0)
    assert found.item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)


def test_temperature_divides_the_students_scores() -> None:
    scores = torch.log(torch.tensor([[1.0, 9.0]]))
    targets = torch.tensor([[0.25, 0.75]])
    # At temperature 2 the odds of 9 become odds of 3: p = (1/4, 3/4) = q.
    assert kl_divergence(scores, targets, mask([1, 1]), temperature=2.0).item() == pytest.approx(
        0.0, abs=1e-6
    )


def test_a_target_of_zero_probability_adds_nothing() -> None:
    # p = (1/2, 1/2), q = (1, 0): log 2
    found = kl_divergence(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), mask([1, 1]), temperature=1.0)
    assert found.item() == pytest.approx(math.log(2), rel=1e-6)


def test_contexts_without_targets_do_not_change_the_kl_divergence() -> None:
    scores = torch.zeros(2, 2)
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    found = kl_divergence(scores, targets, mask([1, 1], [1, 1]), temperature=1.0)
    assert found.item() == pytest.approx(math.log(2), rel=1e-6)


def test_no_targets_at_all_is_zero_with_a_gradient() -> None:
    scores = torch.ones(2, 2, requires_grad=True)
    loss = kl_divergence(scores, torch.zeros(2, 2), mask([1, 1], [1, 0]), temperature=1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert scores.grad is not None and scores.grad.abs().sum() == 0


def test_alpha_weighs_the_kl_divergence() -> None:
    losses = g2r_loss(
        torch.zeros(1, 2),
        mask([1, 0]),
        mask([0, 1]),
        mask([1, 1]),
        torch.tensor([[1.0, 0.0]]),
        alpha=0.25,
        temperature=1.0,
    )
    assert losses.cross_entropy.item() == pytest.approx(math.log(2))
    assert losses.kl.item() == pytest.approx(math.log(2))
    uneven = g2r_loss(
        torch.zeros(1, 2), mask([1, 0]), mask([0, 1]), mask([1, 1]), torch.full((1, 2), 0.5), 0.25, 1.0
    )
    # The targets are the student's distribution: KL 0, so 0.75·log 2 is left.
    assert uneven.loss.item() == pytest.approx(0.75 * math.log(2))
