"""G2R's loss (Kim et al., Findings of EMNLP 2021, §3) as pure functions on tensors.

B contexts of a step, N distinct response texts of the step. A column is one text: two contexts that
share a candidate share its column.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Losses(NamedTuple):
    """The loss and its parts, scalars."""

    loss: Tensor
    cross_entropy: Tensor
    kl: Tensor


def cross_entropy(student_scores: Tensor, positive_mask: Tensor, negative_mask: Tensor) -> Tensor:
    """Mean over contexts of the mean over positives of -log p(positive).

    `student_scores`, `positive_mask`, `negative_mask` [B, N]. Each positive competes with the row's
    negatives and not with its other positives: every own gold or generated response is a right answer
    (§3.1). A column in neither mask takes no part.
    """
    scores = student_scores.float()
    negatives = scores.masked_fill(~negative_mask, -torch.inf).logsumexp(dim=1, keepdim=True)  # [B, 1]
    losses = torch.logaddexp(scores, negatives) - scores  # [B, N]
    per_row = (losses * positive_mask).sum(dim=1) / positive_mask.sum(dim=1).clamp(min=1)
    return per_row.mean()


def kl_divergence(
    student_scores: Tensor, target_probs: Tensor, own_mask: Tensor, temperature: float
) -> Tensor:
    """Mean over the contexts that have targets of KL(target || student) over their own candidates.

    `student_scores`, `target_probs`, `own_mask` [B, N]; a row of `target_probs` without targets is all
    zeros. Other contexts' candidates are masked out (§3.2).
    """
    scores = (student_scores.float() / temperature).masked_fill(~own_mask, -torch.inf)
    log_probs = scores.log_softmax(dim=1).masked_fill(~own_mask, 0.0)
    log_targets = target_probs.clamp(min=1e-12).log()
    per_row = (target_probs * (log_targets - log_probs)).sum(dim=1)
    has_targets = target_probs.sum(dim=1) > 0
    return (per_row * has_targets).sum() / has_targets.sum().clamp(min=1)


def g2r_loss(
    student_scores: Tensor,
    positive_mask: Tensor,
    negative_mask: Tensor,
    own_mask: Tensor,
    target_probs: Tensor,
    alpha: float,
    temperature: float,
) -> Losses:
    """(1 - alpha) * cross-entropy + alpha * KL (§3.2, alpha = 0.1); all arguments [B, N]."""
    ce = cross_entropy(student_scores, positive_mask, negative_mask)
    kl = kl_divergence(student_scores, target_probs, own_mask, temperature)
    return Losses((1 - alpha) * ce + alpha * kl, ce, kl)
