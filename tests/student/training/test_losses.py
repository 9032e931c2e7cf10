"""The losses against numbers worked by hand."""

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    DistillKLDivLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)

from student.config import StudentConfig
from student.training.batches import StepBatch
from student.training.losses import cross_entropy, distillation_loss, embedding_mse, kl_divergence, margin_mse


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
    loss = cross_entropy(scores, mask([1, 0, 0]), mask([0, 1, 0]))
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)


def test_a_negative_of_weight_two_counts_as_two() -> None:
    positives = mask([1, 0, 0])
    once = cross_entropy(torch.tensor([[1.0, 2.0, 2.0]]), positives, ~positives)
    twice = cross_entropy(torch.tensor([[1.0, 2.0, 9.0]]), positives, torch.tensor([[0.0, 2.0, 0.0]]))
    assert twice.item() == pytest.approx(once.item(), rel=1e-6)


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
    loss = kl_divergence(scores, targets, mask([1, 1, 0]), 1.0, 1.0)
    assert loss.item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)


def test_temperature_divides_the_students_scores() -> None:
    scores = torch.log(torch.tensor([[1.0, 9.0]]))
    targets = torch.tensor([[0.25, 0.75]])
    # At temperature 2 the odds of 9 become odds of 3: p = (1/4, 3/4) = q.
    loss = kl_divergence(scores, targets, mask([1, 1]), student_temperature=2.0, teacher_temperature=1.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_the_teachers_temperature_softens_the_targets() -> None:
    scores = torch.log(torch.tensor([[1.0, 3.0]]))
    targets = torch.tensor([[0.1, 0.9]])
    # At temperature 2 the targets' odds of 9 become odds of 3, which are the student's.
    loss = kl_divergence(scores, targets, mask([1, 1]), student_temperature=1.0, teacher_temperature=2.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_a_target_of_zero_probability_adds_nothing() -> None:
    # p = (1/2, 1/2), q = (1, 0): log 2
    loss = kl_divergence(
        torch.zeros(1, 2),
        torch.tensor([[1.0, 0.0]]),
        mask([1, 1]),
        student_temperature=1.0,
        teacher_temperature=1.0,
    )
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)


def test_a_context_with_targets_weighs_the_same_however_few_of_a_step_have_them() -> None:
    scores = torch.zeros(2, 2, requires_grad=True)
    gradients = []
    for others in ([0.0, 0.0], [1.0, 0.0]):
        targets = torch.tensor([[1.0, 0.0], others])
        loss = kl_divergence(scores, targets, mask([1, 1], [1, 1]), 1.0, 1.0)
        gradients.append(torch.autograd.grad(loss, scores)[0])
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert gradients[0][0].abs().sum() > 0 and gradients[0][1].abs().sum() == 0


def test_no_targets_at_all_is_zero_with_a_gradient() -> None:
    scores = torch.ones(2, 2, requires_grad=True)
    loss = kl_divergence(
        scores, torch.zeros(2, 2), mask([1, 1], [1, 0]), student_temperature=1.0, teacher_temperature=1.0
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert scores.grad is not None and scores.grad.abs().sum() == 0


def test_a_margin_is_the_golds_log_odds_over_each_other_own_candidate() -> None:
    scores = torch.tensor([[2.0, 1.0, 5.0, 0.0]])
    targets = torch.tensor([[0.5, 0.25, 0.0, 0.25]])
    # Column 2 is another context's. Student: 2 - 1 and 2 - 0. Teachers: log 2 twice.
    expected = ((1 - math.log(2)) ** 2 + (2 - math.log(2)) ** 2) / 2
    loss = margin_mse(scores, targets, mask([1, 1, 0, 1]), torch.tensor([0]), 1.0, 1.0)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_margins_of_contexts_without_targets_or_other_candidates_take_no_part() -> None:
    scores = torch.tensor([[1.0, 0.0], [7.0, 0.0], [7.0, 0.0]])
    targets = torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]])
    loss = margin_mse(scores, targets, mask([1, 1], [1, 1], [1, 0]), torch.tensor([0, 0, 0]), 1.0, 1.0)
    assert loss.item() == pytest.approx(1 / 3)  # of three contexts, one has an error of 1


def test_margins_of_a_gold_response_without_a_target_take_no_part() -> None:
    scores = torch.tensor([[1.0, 0.0, 0.0], [7.0, 0.0, 0.0]])
    targets = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    own_mask = mask([1, 1, 0], [0, 1, 1])
    assert margin_mse(scores, targets, own_mask, torch.tensor([0, 0]), 1.0, 1.0).item() == pytest.approx(0.5)


def test_a_row_whose_candidates_have_no_targets_has_a_finite_gradient() -> None:
    scores = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    loss = kl_divergence(scores, targets, mask([0, 0], [1, 1]), 1.0, 1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.0)
    assert scores.grad is not None and scores.grad.isfinite().all()


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    batch = StepBatch(
        contexts=["a"],
        responses=["b", "c"],
        positive_mask=mask([1, 0]),
        negative_weights=mask([0, 1]).float(),
        own_mask=mask([1, 1]),
        target_probs=torch.tensor([[1.0, 0.0]]),
        gold=torch.tensor([0]),
    )
    config = StudentConfig(
        cross_entropy_weight=0.5, kl_weight=0.25, margin_mse_weight=2.0, embedding_mse_weight=3.0
    )
    # Both responses score 0, and the first is at a squared distance of 4 + 1.
    contexts, responses = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    losses = distillation_loss(contexts, responses, batch, config)
    assert losses.cross_entropy.item() == pytest.approx(math.log(2))
    assert losses.kl.item() == pytest.approx(math.log(2))
    # A probability of zero counts as 1e-6: the teachers' margin is -log 1e-6 nats, the student's 0.
    assert losses.margin_mse.item() == pytest.approx(math.log(1e6) ** 2, rel=1e-5)
    assert losses.embedding_mse.item() == pytest.approx(5.0)
    expected = 0.75 * math.log(2) + 2 * losses.margin_mse.item() + 3 * 5.0
    assert losses.loss.item() == pytest.approx(expected, rel=1e-6)


def test_an_embedding_is_drawn_to_each_candidate_by_its_target() -> None:
    contexts = torch.tensor([[1.0, 0.0], [5.0, 5.0]])
    responses = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    # The second context has no targets.
    targets = torch.tensor([[0.75, 0.25], [0.0, 0.0]])
    assert embedding_mse(contexts, responses, targets).item() == pytest.approx((0.75 * 4 + 0.25 * 1) / 2)


class Embeddings(torch.nn.Module):
    """Stands for a sentence-transformers model whose texts are their embeddings."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return features


@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (2.0, 2.0), (3.0, 0.5)])
def test_kl_divergence_equals_sentence_transformers(temperatures: tuple[float, float]) -> None:
    torch.manual_seed(0)
    contexts, responses, teacher_scores = torch.randn(5, 8), torch.randn(5, 4, 8), torch.randn(5, 4)
    theirs = DistillKLDivLoss(
        Embeddings(), student_temperature=temperatures[0], teacher_temperature=temperatures[1]
    ).compute_loss_from_embeddings([contexts, *responses.unbind(dim=1)], teacher_scores)
    student_scores = torch.einsum("bd,bkd->bk", contexts, responses)
    own_mask = torch.ones(5, 4, dtype=torch.bool)
    # The targets on disk are the softmax at temperature 1.
    ours = kl_divergence(student_scores, teacher_scores.softmax(dim=1), own_mask, *temperatures)
    torch.testing.assert_close(ours, theirs)


def test_margin_mse_equals_sentence_transformers() -> None:
    torch.manual_seed(0)
    contexts, responses, teacher_scores = torch.randn(5, 8), torch.randn(5, 4, 8), torch.randn(5, 4)
    theirs = MarginMSELoss(Embeddings()).compute_loss_from_embeddings(
        [contexts, *responses.unbind(dim=1)], teacher_scores
    )
    student_scores = torch.einsum("bd,bkd->bk", contexts, responses)
    own_mask = torch.ones(5, 4, dtype=torch.bool)
    gold = torch.zeros(5, dtype=torch.long)
    ours = margin_mse(student_scores, teacher_scores.softmax(dim=1), own_mask, gold, 1.0, 1.0)
    torch.testing.assert_close(ours, theirs)


def test_cross_entropy_with_one_positive_equals_sentence_transformers_in_batch_negatives() -> None:
    torch.manual_seed(0)
    contexts, responses = torch.randn(6, 8), torch.randn(6, 8)
    theirs = MultipleNegativesRankingLoss(Embeddings(), scale=20.0).compute_loss_from_embeddings(
        [contexts, responses], None
    )
    cosines = torch.nn.functional.normalize(contexts) @ torch.nn.functional.normalize(responses).T
    positives = torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(cross_entropy(20.0 * cosines, positives, ~positives), theirs)
