"""The student as the mean of its weights before and after training.

Training on few conversations teaches what answers a turn, at the cost of what the pretrained encoder knows
of topics. Between the two weights lie students that have most of both (Wortsman et al. 2022, WiSE-FT, §3,
arXiv 2109.01903).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def copy_of_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return copies of the weights that are trained, by name."""
    return {name: weight.detach().clone() for name, weight in trainable(model).items()}


@contextmanager
def averaged(model: torch.nn.Module, pretrained: Mapping[str, Tensor], share: float) -> Iterator[None]:
    """Give `share` of each weight to `pretrained` while the block runs; every worker must call it."""
    if not share:
        yield
        return

    with _whole_weights(model) as weights:
        trained = copy_of_weights(model)
        for name, weight in weights.items():
            weight.data.lerp_(pretrained[name].to(weight), share)

    yield

    with _whole_weights(model) as weights:
        for name, weight in weights.items():
            weight.data.copy_(trained[name])


@contextmanager
def _whole_weights(model: torch.nn.Module) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Gather the weights that ZeRO-3 shards, and shard them again as they are after the block."""
    from deepspeed.runtime.zero import GatheredParameters

    weights = trainable(model)
    with GatheredParameters(list(weights.values()), modifier_rank=0):
        yield weights
