"""Losses as pure functions. B contexts of a step, N distinct response texts of the step, D dimensions.

A column is one text: two contexts that share a candidate share its column.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from student.config import StudentConfig
from student.training.batches import StepBatch

# Smaller target probabilities are rounding errors of a softmax: all count as this one.
_MIN_PROBABILITY = 1e-6


class Losses(NamedTuple):
    """Weighted sum and its parts, scalars."""

    loss: Tensor
    cross_entropy: Tensor
    kl: Tensor
    margin_mse: Tensor
    embedding_mse: Tensor


def cross_entropy(student_scores: Tensor, positive_mask: Tensor, negative_weights: Tensor) -> Tensor:
    """Mean over contexts of the mean over positives of -log p(positive).

    `student_scores`, `positive_mask`, `negative_weights` [B, N]. Each positive competes with the row's
    negatives and not with its other positives: a context's gold and generated responses are all correct
    (G2R §3.1). A negative of weight 2 counts as two, a column of weight 0 is none.
    """
    scores = student_scores.float()
    weighted = scores + negative_weights.float().log()
    negatives = weighted.masked_fill(negative_weights == 0, -torch.inf).logsumexp(dim=1, keepdim=True)
    losses = torch.logaddexp(scores, negatives) - scores  # [B, N]
    per_row = (losses * positive_mask).sum(dim=1) / positive_mask.sum(dim=1).clamp(min=1)
    return per_row.mean()


def kl_divergence(
    student_scores: Tensor,
    target_probs: Tensor,
    own_mask: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """KL(target || student) over each context's candidates; the mean over the step's contexts.

    `student_scores`, `target_probs`, `own_mask` [B, N]; a row of `target_probs` without targets is all
    zeros. The targets are the teachers' probabilities to the power of 1 / `teacher_temperature`, normalised
    to sum to one: a softmax of the teachers' scores at that temperature. Other contexts' candidates are
    masked out (G2R §3.2). The gradient is scaled back by the square of the student's temperature, as in
    sentence-transformers' DistillKLDivLoss.
    """
    scores = (student_scores.float() / student_temperature).masked_fill(~own_mask, -torch.inf)
    log_probs = scores.log_softmax(dim=1).masked_fill(~own_mask, 0.0)
    softened = target_probs.pow(1 / teacher_temperature)
    targets = softened / softened.sum(dim=1, keepdim=True).clamp(min=1e-12)
    per_row = (torch.xlogy(targets, targets) - targets * log_probs).sum(dim=1)
    return student_temperature**2 * _mean_over_step(per_row, target_probs.sum(dim=1) > 0)


def margin_mse(
    student_scores: Tensor,
    target_probs: Tensor,
    own_mask: Tensor,
    gold: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """MarginMSE (Hofstätter et al. 2020): squared error of the gold response's margins, in nats.

    `student_scores`, `target_probs`, `own_mask` [B, N], `gold` [B]. A margin is the gold response's score
    minus that of another candidate of the context, over the temperature. A teacher's score is the log of its
    probability, which differs from the softmax's input by a constant of the row. Mean over the candidates,
    then over the step's contexts; one without targets, or without the gold response's, adds nothing.
    """
    scores = student_scores.float() / student_temperature
    log_targets = target_probs.clamp(min=_MIN_PROBABILITY).log() / teacher_temperature
    errors = scores - log_targets
    errors = errors.gather(1, gold[:, None]) - errors  # [B, N]
    others = own_mask.scatter(1, gold[:, None], False)
    per_row = (errors.pow(2) * others).sum(dim=1) / others.sum(dim=1).clamp(min=1)
    has_gold = own_mask.gather(1, gold[:, None]).squeeze(1)
    return _mean_over_step(per_row, (target_probs.sum(dim=1) > 0) & has_gold & others.any(dim=1))


def embedding_mse(contexts: Tensor, responses: Tensor, target_probs: Tensor) -> Tensor:
    """Squared distances between contexts and their candidates, weighted by their targets.

    `contexts` [B, D], `responses` [N, D], `target_probs` [B, N]. Mean over the step's contexts.
    With teachers' rewrites as candidates, a context's vector learns to equal theirs. DiSCo (§3) relaxes
    this distillation of embeddings to one of scores.
    """
    squares = (
        contexts.pow(2).sum(dim=1, keepdim=True) - 2 * contexts @ responses.T + responses.pow(2).sum(dim=1)
    )
    return _mean_over_step((target_probs * squares).sum(dim=1), target_probs.sum(dim=1) > 0)


def distillation_loss(contexts: Tensor, responses: Tensor, batch: StepBatch, config: StudentConfig) -> Losses:
    """Return the weighted losses (G2R §3.2: 1 - α, α and 0) on `contexts` [B, D] and `responses` [N, D].

    The score of a pair is `config.similarity_scale` times its inner product.
    """
    student_scores = config.similarity_scale * contexts @ responses.T
    temperatures = (config.student_temperature, config.teacher_temperature)

    ce = cross_entropy(student_scores, batch.positive_mask, batch.negative_weights)
    kl = kl_divergence(student_scores, batch.target_probs, batch.own_mask, *temperatures)
    margins = margin_mse(student_scores, batch.target_probs, batch.own_mask, batch.gold, *temperatures)
    embedding = embedding_mse(contexts, responses, batch.target_probs)

    parts = torch.stack([ce, kl, margins, embedding])
    weights = parts.new_tensor(
        [
            config.cross_entropy_weight,
            config.kl_weight,
            config.margin_mse_weight,
            config.embedding_mse_weight,
        ]
    )
    return Losses((weights * parts).sum(), ce, kl, margins, embedding)


def _mean_over_step(values: Tensor, has_targets: Tensor) -> Tensor:
    """Mean of `values` [B], in which contexts without targets count as 0.

    So a context that the teachers scored weighs the same, however few of them they scored.
    """
    return (values * has_targets).mean()
