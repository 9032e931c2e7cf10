"""A sparse student's regularisers, and the controller that keeps it to a budget.

B contexts and N responses, V terms of the vocabulary. A term's weight is log(1 + max(0, logit - threshold)),
the largest over the tokens. The regularisers teach the student which terms it can do without; how many
it keeps is decided by the threshold, one number per encoder, which the controller moves. Steering the
regularisers' weights instead was tried: terms vanish long after the weight that pushes them has risen,
so that short trainings overshot to no terms at all.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from student.config import StudentConfig
from student.encoders.encoder import Encoder, Side, transformers_of

State = dict[str, dict[Side, float]]

# Share of the deviation from the budget that one step makes good.
_GAIN = 0.2
_BISECTIONS = 40


def flops_regulariser(vectors: Tensor) -> Tensor:
    """Sum over terms of the squared mean weight (Paria et al. 2020, eq. 4) of `vectors` [N, V]."""
    return vectors.mean(dim=0).square().sum()


def l1_regulariser(vectors: Tensor) -> Tensor:
    """Mean over texts of the sum of weights of `vectors` [N, V], none of which is negative."""
    return vectors.sum(dim=1).mean()


_REGULARISERS = {"flops": flops_regulariser, "l1": l1_regulariser}


def activity(contexts: Tensor, responses: Tensor) -> dict[str, Tensor]:
    """What can be budgeted, of `contexts` [B, V] and `responses` [N, V].

    `context_terms` and `response_terms` are the mean numbers of terms that weigh something, and `flops` the
    expected multiplications for one pair: the sum over terms of the product of the shares of contexts and
    of responses that have it (Paria et al. 2020, §3).
    """
    shares = {"context": (contexts > 0).float().mean(dim=0), "response": (responses > 0).float().mean(dim=0)}
    return {
        "context_terms": shares["context"].sum(),
        "response_terms": shares["response"].sum(),
        "flops": shares["context"] @ shares["response"],
    }


@dataclass
class Threshold:
    """What is subtracted from the logits of one encoder, by a hook on its head."""

    value: float = 0.0

    def attach(self, encoder: Encoder, side: Side) -> None:
        """From now on the logits of that side's encoder are less by this."""
        head = transformers_of(encoder)[side].get_output_embeddings()
        head.register_forward_hook(
            lambda module, inputs, logits: logits - self.value if self.value else logits
        )


def fold_thresholds(encoder: Encoder, thresholds: dict[Side, float]) -> None:
    """Subtracts each threshold from the bias of its encoder's head, so that no hook is needed any more."""
    models = transformers_of(encoder)
    for side, threshold in thresholds.items():
        with torch.no_grad():
            models[side].get_output_embeddings().bias -= threshold


def budgets(config: StudentConfig) -> dict[Side, tuple[str, float]]:
    """What is budgeted and how much, for each encoder that is trained; a shared one is the context's."""
    wanted = config.sparsity
    if wanted.flops is not None:
        sides: tuple[Side, ...] = ("context", "response") if config.encoders == "separate" else ("context",)
        return dict.fromkeys(sides, ("flops", wanted.flops))
    named = {"context_terms": wanted.context_terms, "response_terms": wanted.response_terms}
    given = [(measure, budget) for measure, budget in named.items() if budget is not None]
    if config.encoders != "separate":
        return dict(zip(("context",), given, strict=False))
    return {"context" if budget[0] == "context_terms" else "response": budget for budget in given}


def missed_budget(config: StudentConfig, measured: dict[str, float]) -> str | None:
    """One line where the `activity` of held-out texts is more than a tenth off a budget."""
    missed = {
        f"{measure} {measured[measure]:.3g} for a budget of {budget:.3g}"
        for measure, budget in budgets(config).values()
        if not 0.9 <= measured[measure] / budget <= 1.1
    }
    return f"the student missed its budget: {', '.join(sorted(missed))}" if missed else None


class SparsityController:
    """Moves the thresholds so that what is active meets the budget, in training and at each checkpoint.

    The budget is approached from what the student begins with, quadratically over `warmup_share` of the
    steps, and so is the regularisers' weight (Formal et al. 2021, §3).
    """

    def __init__(self, config: StudentConfig, num_steps: int, encoder: Encoder, state: State | None) -> None:
        """`state` is what a checkpoint kept of `state()`."""
        self._config = config
        self._warmup = max(1, math.ceil(config.sparsity.warmup_share * num_steps))
        self._budgets = budgets(config)
        kept = state or {"threshold": {}, "first": {}, "scale": {}}
        self._first, self._scale = dict(kept["first"]), dict(kept["scale"])
        self._thresholds = {side: Threshold(kept["threshold"].get(side, 0.0)) for side in self._budgets}
        for side, threshold in self._thresholds.items():
            threshold.attach(encoder, side)

    def penalty(self, step: int, contexts: Tensor, responses: Tensor) -> Tensor:
        """The regularisers of `contexts` [B, V] and `responses` [N, V]; `step` counts from 0."""
        regularise = _REGULARISERS[self._config.sparsity.regulariser]
        weight = self._config.sparsity.regulariser_weight * self._approach(step)
        return weight * (regularise(contexts) + regularise(responses))

    def steer(self, step: int, contexts: Tensor, responses: Tensor) -> None:
        """Moves the thresholds a little towards this step's target, by what was active in it."""
        vectors: dict[Side, Tensor] = {"context": contexts, "response": responses}
        measured = activity(contexts, responses)
        for side, (measure, budget) in self._budgets.items():
            found = max(measured[measure].item(), 1e-3)  # a collapsed student has none
            first = self._first.setdefault(side, found)
            target = first * (budget / first) ** self._approach(step)
            active = vectors[side][vectors[side] > 0]
            if len(active):
                # Above the threshold logits thin out about exponentially, with their mean as the scale.
                self._scale[side] = active.expm1().mean().item()
            deviation = max(-1.0, min(1.0, math.log(found / target)))
            self._thresholds[side].value += _GAIN * self._scale.get(side, 1.0) * deviation

    @contextmanager
    def lowered(self) -> Iterator[None]:
        """Lets more be active than is wanted while the body runs, for `calibrate` to choose from."""
        values = self.thresholds()
        for side, threshold in self._thresholds.items():
            threshold.value -= self._scale.get(side, 1.0)
        yield
        for side, threshold in self._thresholds.items():
            threshold.value = values[side]

    def calibrate(self, contexts: Tensor, responses: Tensor) -> tuple[Tensor, Tensor, dict[Side, float]]:
        """`contexts` [B, V] and `responses` [N, V], encoded while `lowered`, as sparse as the budget says.

        And the thresholds that make them so. Dropout is off here, which alone changes what is active.
        """
        logits: dict[Side, Tensor] = {"context": contexts.expm1(), "response": responses.expm1()}
        raised: dict[Side, float] = {}
        for side, (measure, budget) in self._budgets.items():

            def reached(value: float, side: Side = side, measure: str = measure) -> float:
                sides = list(self._budgets) if measure == "flops" else [side]
                vectors = self._above(logits, {**raised, **dict.fromkeys(sides, value)})
                found: float = activity(*vectors)[measure].item()
                return found

            low, high = 0.0, logits[side].max().item()
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                low, high = (middle, high) if reached(middle) > budget else (low, middle)
            # In bf16 many logits are equal, and the budget may lie between two counts.
            raised[side] = min(low, high, key=lambda value: abs(reached(value) - budget))
        above = (vectors.relu().log1p() for vectors in self._above(logits, raised))
        thresholds = {
            side: threshold.value - self._scale.get(side, 1.0) + raised[side]
            for side, threshold in self._thresholds.items()
        }
        return *above, thresholds

    def _above(self, logits: dict[Side, Tensor], raised: dict[Side, float]) -> tuple[Tensor, Tensor]:
        by = raised["context"] if self._config.encoders == "shared" else raised.get("response", 0.0)
        return logits["context"] - raised.get("context", 0.0), logits["response"] - by

    def _approach(self, step: int) -> float:
        return min(1.0, (step + 1) / self._warmup) ** 2

    def thresholds(self) -> dict[Side, float]:
        """What is subtracted from the logits at present."""
        return {side: threshold.value for side, threshold in self._thresholds.items()}

    def state(self) -> State:
        """What a checkpoint keeps."""
        return {"threshold": self.thresholds(), "first": dict(self._first), "scale": dict(self._scale)}
