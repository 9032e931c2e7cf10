"""One step: its texts shared out among the workers, compared as one batch, and the gradients brought back.

B contexts and N responses of the whole step, D dimensions, W workers, M texts of one worker.

Every worker encodes its share of the texts, gets the others' vectors, and computes the loss of the whole
step. It differentiates that by its own vectors only, and then these by the weights. So the vectors' graph
need not live while the loss is computed, which is what GradCache (Gao et al. 2021, §3) uses: with
`gradient_cache` a first pass without a graph gives the vectors, and a second one, group by group, the
gradients of the weights. Both ways give the same gradient, on any number of workers.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from student.config import StudentConfig
from student.encoders.encoder import TASKS, Encoder, Side, has_routes, prompt_of
from student.encoders.precision import mixed_precision
from student.training.batches import StepBatch
from student.training.frozen_responses import FrozenResponses
from student.training.losses import Losses, distillation_loss

Penalty = Callable[[Tensor, Tensor], Tensor]
"""From the step's contexts [B, D] and responses [N, D] to what is added to its loss."""


class StepEncoder(torch.nn.Module):
    """The module that DeepSpeed trains: tokens of either side to vectors."""

    def __init__(self, encoder: Encoder) -> None:
        from sentence_transformers import SparseEncoder

        super().__init__()
        self.encoder = encoder
        self.frozen_responses = FrozenResponses()
        self._is_sparse = isinstance(encoder, SparseEncoder)

    def forward(self, features: dict[str, Any], side: Side) -> Tensor:
        """Vectors [M, D] in float32 (bf16 would round cosines to 3 digits), of length one if dense."""
        found = self.encoder(dict(features), task=TASKS[side])["sentence_embedding"].float()
        return found if self._is_sparse else functional.normalize(found, dim=1)


@dataclass
class _Group:
    """Texts of like length that go through the encoder together."""

    side: Side
    features: dict[str, Any]
    seed: int
    places: slice
    """Where its vectors lie in the worker's share."""


class _Share:
    """One worker's part of some texts of a step, and their vectors once they are encoded."""

    def __init__(self, engine: Any, texts: Sequence[str], side: Side, size: int, seed: str) -> None:
        rank, self._world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        # Neighbours in length go to different workers, which then have equally much to do, and equally
        # many: the last text is repeated where they do not come out even.
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        filled = by_length + by_length[-1:] * (-len(texts) % self._world_size)
        mine = [texts[i] for i in filled[rank :: self._world_size]]
        self._order = by_length
        self.num_texts = len(texts)
        self.groups = [
            _Group(
                side,
                _tokens(engine.module.encoder, mine[start : start + size], side),
                zlib.crc32(f"{seed} {rank} {side} {start}".encode()),
                slice(start, start + size),
            )
            for start in range(0, len(mine), size)
        ]

    def encode(self, engine: Any, config: StudentConfig) -> Tensor:
        """This worker's vectors [M, D]."""
        with mixed_precision(engine.device, config.precision):
            return torch.cat([_encode_group(engine, group) for group in self.groups])

    def gather(self, own: Tensor) -> Tensor:
        """All workers' vectors [T, D] in the order of the T texts, without a graph."""
        everyone = [torch.empty_like(own) for _ in range(self._world_size)]
        torch.distributed.all_gather(everyone, own.detach().contiguous())
        by_length = torch.stack(everyone, dim=1).flatten(0, 1)[: len(self._order)]  # [M, W, D] before
        gathered = torch.empty_like(by_length)
        gathered[self._order] = by_length
        return gathered

    def own_gradient(self, gradient: Tensor) -> Tensor:
        """What of the gradient [T, D] belongs to this worker's vectors [M, D]; repeats get none."""
        rank = torch.distributed.get_rank()
        own = gradient[self._order[rank :: self._world_size]]
        padding = sum(len(group.features["input_ids"]) for group in self.groups) - len(own)
        # DeepSpeed takes the mean over the workers, whose gradients are parts of one: their sum is wanted.
        return functional.pad(own, (0, 0, 0, padding)) * self._world_size


def train_step(
    engine: Any, batch: StepBatch, config: StudentConfig, penalty: Penalty | None, step: int
) -> tuple[Losses, Tensor, Tensor]:
    """The step's losses, contexts [B, D] and responses [N, D]; its gradients are added, the weights stepped.

    `step` counts from 0 and, with seed, worker and group, seeds dropout: a resumed training draws what the
    unbroken one drew. With `accumulation_steps` k, the weights change at each k-th step.
    """
    batch = batch.to(engine.device)
    shares = _shares(engine, batch, config, f"{config.seed} {step}")
    with torch.set_grad_enabled(not config.gradient_cache):
        own = [share.encode(engine, config) for share in shares]
    vectors = torch.cat([share.gather(found) for share, found in zip(shares, own, strict=True)])
    vectors.requires_grad_()
    contexts, responses = vectors[: len(batch.contexts)], vectors[len(batch.contexts) :]
    if config.encoders == "frozen_responses":
        responses = engine.module.frozen_responses.vectors(
            batch.responses, lambda texts: encode_texts(engine, texts, "response", config)
        )
    losses = distillation_loss(contexts, responses, batch, config)
    loss = losses.loss if penalty is None else losses.loss + penalty(contexts, responses)
    [gradient] = torch.autograd.grad(loss, [vectors])

    by_share = gradient.split([share.num_texts for share in shares])
    own_gradients = [share.own_gradient(found) for share, found in zip(shares, by_share, strict=True)]
    if config.gradient_cache:
        parts = _cached_parts(engine, config, shares, own_gradients)
        number_of_parts = sum(len(share.groups) for share in shares)
    else:
        pairs = zip(own, own_gradients, strict=True)
        parts = iter([torch.stack([(own_vectors * found).sum() for own_vectors, found in pairs]).sum()])
        number_of_parts = 1
    completes = (step + 1) % config.accumulation_steps == 0
    for number, part in enumerate(parts, start=1):
        engine.set_gradient_accumulation_boundary(completes and number == number_of_parts)
        engine.backward(part)
    engine.step()
    return losses._replace(loss=loss), contexts.detach(), responses.detach()


def _shares(engine: Any, batch: StepBatch, config: StudentConfig, seed: str) -> list[_Share]:
    """This worker's texts that are trained on: of both sides together, where they are encoded alike, or of
    either.
    """
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
    """For each group a number whose gradient by the weights is the group's part of the step's."""
    for share, gradient in zip(shares, gradients, strict=True):
        for group in share.groups:
            with mixed_precision(engine.device, config.precision):
                vectors = _encode_group(engine, group)
            yield (vectors * gradient[group.places]).sum()


def _encode_group(engine: Any, group: _Group) -> Tensor:
    """The group's vectors [M, D]; the same dropout each time."""
    torch.manual_seed(group.seed)
    vectors: Tensor = engine(group.features, group.side)
    return vectors


def encode_texts(engine: Any, texts: Sequence[str], side: Side, config: StudentConfig) -> Tensor:
    """Vectors [N, D] of all workers' shares, for validation; every worker has to call it."""
    share = _Share(engine, texts, side, config.micro_batch_size, "")
    with torch.no_grad():
        return share.gather(share.encode(engine, config))


def _tokens(encoder: Encoder, texts: list[str], side: Side) -> dict[str, Any]:
    features = encoder.preprocess(texts, prompt=prompt_of(encoder, side), task=TASKS[side])
    return {
        name: value.to(encoder.device) if isinstance(value, Tensor) else value
        for name, value in features.items()
    }
