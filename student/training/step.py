"""One training step: workers divide the texts, compare them as one batch, and exchange gradients.

B contexts and N responses of the whole step, D dimensions, W workers, M texts of one worker.

Every worker encodes its share of the texts, gets the others' vectors, and computes the loss of the whole
step. It differentiates the loss by its own vectors only, and then these by the weights. So the vectors'
graph need not exist while the loss is computed, as in GradCache (Gao et al. 2021, §3). With
`gradient_cache`, a first pass without a graph gives the vectors. A second one gives the gradients of the
weights, group by group. Both ways give the same gradient, on any number of workers.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from student.config import StudentConfig
from student.encoders.encoder import TASKS, Encoder, Side, has_routes, prompt_of, vectors_of
from student.encoders.precision import mixed_precision
from student.training.batches import StepBatch
from student.training.frozen_responses import FrozenResponses
from student.training.losses import Losses, distillation_loss

Penalty = Callable[[Tensor, Tensor], Tensor]
"""From the step's contexts [B, D] and responses [N, D] to a term of its loss."""


class StepEncoder(torch.nn.Module):
    """Module that DeepSpeed trains: from tokens of either side to vectors."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.frozen_responses = FrozenResponses()

    def forward(self, features: dict[str, Any], side: Side) -> Tensor:
        """Return vectors [M, D]."""
        return vectors_of(self.encoder, features, side)


@dataclass
class _Group:
    """Texts of similar length that go through the encoder together."""

    side: Side
    features: dict[str, Any]
    seed: int
    places: slice
    """Places of its vectors in the worker's share"""


class _Share:
    """One worker's part of some texts of a step."""

    def __init__(self, engine: Any, texts: Sequence[str], side: Side, size: int, seed: str) -> None:
        rank, self._world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        # Neighbours in length go to different workers, which balances their work. The last text is repeated
        # until every worker has equally many.
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        filled = by_length + by_length[-1:] * (-len(texts) % self._world_size)
        share = [texts[i] for i in filled[rank :: self._world_size]]
        self._order = by_length
        self.num_texts = len(texts)

        self.groups: list[_Group] = []
        for start in range(0, len(share), size):
            features = _tokens(engine.module.encoder, share[start : start + size], side)
            group_seed = zlib.crc32(f"{seed} {rank} {side} {start}".encode())
            self.groups.append(_Group(side, features, group_seed, slice(start, start + size)))

    def encode(self, engine: Any, config: StudentConfig) -> Tensor:
        """Return this worker's vectors [M, D]."""
        with mixed_precision(engine.device, config.precision):
            return torch.cat([_encode_group(engine, group) for group in self.groups])

    def gather(self, local_vectors: Tensor) -> Tensor:
        """Return all workers' vectors [T, D] in the order of the T texts, without a graph."""
        everyone = [torch.empty_like(local_vectors) for _ in range(self._world_size)]
        torch.distributed.all_gather(everyone, local_vectors.detach().contiguous())
        by_length = torch.stack(everyone, dim=1).flatten(0, 1)[: len(self._order)]  # [M, W, D] before
        gathered = torch.empty_like(by_length)
        gathered[self._order] = by_length
        return gathered

    def local_gradient(self, gradient: Tensor) -> Tensor:
        """Return the rows of the gradient [T, D] for this worker's vectors [M, D]; repeats get zeros."""
        rank = torch.distributed.get_rank()
        local = gradient[self._order[rank :: self._world_size]]
        padding = sum(len(group.features["input_ids"]) for group in self.groups) - len(local)
        # DeepSpeed averages over the workers, but their gradients are parts of a sum.
        return functional.pad(local, (0, 0, 0, padding)) * self._world_size


def train_step(
    engine: Any, batch: StepBatch, config: StudentConfig, penalty: Penalty | None, step: int
) -> tuple[Losses, Tensor, Tensor]:
    """Take a training step; return its losses, contexts [B, D] and responses [N, D].

    `step` counts from 0 and, with seed, worker and group, seeds dropout: a resumed training draws the same
    as an uninterrupted one. With `accumulation_steps` k, the weights change at each k-th step.
    """
    batch = batch.to(engine.device)
    shares = _shares(engine, batch, config, f"{config.seed} {step}")
    with torch.set_grad_enabled(not config.gradient_cache):
        local_vectors = [share.encode(engine, config) for share in shares]
    gathered = []
    for share, share_vectors in zip(shares, local_vectors, strict=True):
        gathered.append(share.gather(share_vectors))
    vectors = torch.cat(gathered).requires_grad_()

    contexts, responses = vectors[: len(batch.contexts)], vectors[len(batch.contexts) :]
    if config.encoders == "frozen_responses":
        responses = engine.module.frozen_responses.vectors(
            batch.responses, lambda texts: encode_texts(engine, texts, "response", config)
        )

    losses = distillation_loss(contexts, responses, batch, config)
    loss = losses.loss if penalty is None else losses.loss + penalty(contexts, responses)
    [gradient] = torch.autograd.grad(loss, [vectors])

    by_share = gradient.split([share.num_texts for share in shares])
    local_gradients = []
    for share, share_gradient in zip(shares, by_share, strict=True):
        local_gradients.append(share.local_gradient(share_gradient))

    if config.gradient_cache:
        parts = _cached_parts(engine, config, shares, local_gradients)
        num_parts = sum(len(share.groups) for share in shares)
    else:
        products = []
        for share_vectors, share_gradient in zip(local_vectors, local_gradients, strict=True):
            products.append((share_vectors * share_gradient).sum())
        parts = iter([torch.stack(products).sum()])
        num_parts = 1

    completes = (step + 1) % config.accumulation_steps == 0
    for number, part in enumerate(parts, start=1):
        engine.set_gradient_accumulation_boundary(completes and number == num_parts)
        engine.backward(part)
    engine.step()
    return losses._replace(loss=loss), contexts.detach(), responses.detach()


def _shares(engine: Any, batch: StepBatch, config: StudentConfig, seed: str) -> list[_Share]:
    """Return this worker's texts to train on: one share of both sides if encoded alike, or one per side."""
    encoder, size = engine.module.encoder, config.micro_batch_size
    if config.encoders == "frozen_responses":
        return [_Share(engine, batch.contexts, "context", size, seed)]

    alike = prompt_of(encoder, "context") == prompt_of(encoder, "response")
    if config.encoders == "shared" and alike and not has_routes(encoder):
        return [_Share(engine, [*batch.contexts, *batch.responses], "context", size, seed)]
    return [
        _Share(engine, batch.contexts, "context", size, seed),
        _Share(engine, batch.responses, "response", size, seed),
    ]


def _cached_parts(
    engine: Any, config: StudentConfig, shares: Sequence[_Share], gradients: Sequence[Tensor]
) -> Iterator[Tensor]:
    """Yield for each group a scalar whose gradient by the weights is the group's part of the step's."""
    for share, gradient in zip(shares, gradients, strict=True):
        for group in share.groups:
            with mixed_precision(engine.device, config.precision):
                vectors = _encode_group(engine, group)
            yield (vectors * gradient[group.places]).sum()


def _encode_group(engine: Any, group: _Group) -> Tensor:
    """Return the group's vectors [M, D], with the same dropout each time."""
    torch.manual_seed(group.seed)
    vectors: Tensor = engine(group.features, group.side)
    return vectors


def encode_texts(engine: Any, texts: Sequence[str], side: Side, config: StudentConfig) -> Tensor:
    """Return the vectors [N, D] of all workers' shares, without a graph; every worker must call it."""
    share = _Share(engine, texts, side, config.micro_batch_size, "")
    with torch.no_grad():
        return share.gather(share.encode(engine, config))


def _tokens(encoder: Encoder, texts: list[str], side: Side) -> dict[str, Any]:
    """Return the encoder's inputs on its device."""
    features = encoder.preprocess(texts, prompt=prompt_of(encoder, side), task=TASKS[side])
    for name, value in features.items():
        if isinstance(value, Tensor):
            features[name] = value.to(encoder.device)
    return dict(features)
