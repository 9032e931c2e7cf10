"""Regularisers of a sparse student, and the controller that meets its budget.

B contexts and N responses, V terms of the vocabulary. A term's weight is log(1 + max(0, logit - threshold)),
the largest over the tokens. The regularisers teach the student which terms are dispensable. The threshold,
one number per encoder, decides how many remain, and the controller moves it. Control of the regularisers'
weights was tried: terms vanish long after the weight has risen, so short trainings overshot to no terms.
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

# Share of the deviation from the budget that one step corrects.
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
    """Return the measures that a budget can limit, for `contexts` [B, V] and `responses` [N, V].

    `context_terms` and `response_terms` are the mean numbers of terms with a positive weight. `flops` is
    the expected number of multiplications for one pair: the sum over terms of the product of the shares of
    contexts and responses that have it (Paria et al. 2020, §3).
    """
    context_shares = (contexts > 0).float().mean(dim=0)
    response_shares = (responses > 0).float().mean(dim=0)
    return {
        "context_terms": context_shares.sum(),
        "response_terms": response_shares.sum(),
        "flops": context_shares @ response_shares,
    }


@dataclass
class Threshold:
    """Number that a hook on an encoder's head subtracts from its logits."""

    value: float = 0.0

    def attach(self, encoder: Encoder, side: Side) -> None:
        """Subtract the threshold from the logits of that side's encoder from now on."""
        head = transformers_of(encoder)[side].get_output_embeddings()
        head.register_forward_hook(
            lambda module, inputs, logits: logits - self.value if self.value else logits
        )


def fold_thresholds(encoder: Encoder, thresholds: dict[Side, float]) -> None:
    """Subtract each threshold from the bias of its encoder's head, which then needs no hook."""
    models = transformers_of(encoder)
    for side, threshold in thresholds.items():
        with torch.no_grad():
            models[side].get_output_embeddings().bias -= threshold


def budgets(config: StudentConfig) -> dict[Side, tuple[str, float]]:
    """Return the measure and its budget for each trained encoder; a shared one counts as the context's."""
    sparsity = config.sparsity
    if sparsity.flops is not None:
        sides: tuple[Side, ...] = ("context", "response") if config.encoders == "separate" else ("context",)
        return dict.fromkeys(sides, ("flops", sparsity.flops))

    limits: dict[Side, tuple[str, float]] = {}
    if sparsity.context_terms is not None:
        limits["context"] = ("context_terms", sparsity.context_terms)
    if sparsity.response_terms is not None:
        side: Side = "response" if config.encoders == "separate" else "context"
        limits.setdefault(side, ("response_terms", sparsity.response_terms))
    return limits


def missed_budget(config: StudentConfig, measured: dict[str, float]) -> str | None:
    """Return a warning where the `activity` of held-out texts is more than a tenth off a budget."""
    missed: set[str] = set()
    for measure, budget in budgets(config).values():
        if not 0.9 <= measured[measure] / budget <= 1.1:
            missed.add(f"{measure} {measured[measure]:.3g} for a budget of {budget:.3g}")
    return f"the student missed its budget: {', '.join(sorted(missed))}" if missed else None


class SparsityController:
    """Controller of the thresholds: keeps the activity at the budget, in training and at each checkpoint.

    The target moves from the untrained student's activity to the budget, quadratically over `warmup_share`
    of the steps. The regularisers' weight rises likewise (Formal et al. 2021, §3).
    """

    def __init__(self, config: StudentConfig, num_steps: int, encoder: Encoder, state: State | None) -> None:
        """Resume from `state`, the result of `state()` in a checkpoint."""
        self._config = config
        self._warmup = max(1, math.ceil(config.sparsity.warmup_share * num_steps))
        self._budgets = budgets(config)

        saved = state or {"threshold": {}, "first": {}, "scale": {}}
        self._first, self._scale = dict(saved["first"]), dict(saved["scale"])
        self._thresholds: dict[Side, Threshold] = {}
        for side in self._budgets:
            self._thresholds[side] = Threshold(saved["threshold"].get(side, 0.0))
            self._thresholds[side].attach(encoder, side)

    def penalty(self, step: int, contexts: Tensor, responses: Tensor) -> Tensor:
        """Return the weighted regularisers of `contexts` [B, V] and `responses` [N, V]; `step` is from 0."""
        regularise = _REGULARISERS[self._config.sparsity.regulariser]
        weight = self._config.sparsity.regulariser_weight * self._approach(step)
        return weight * (regularise(contexts) + regularise(responses))

    def steer(self, step: int, contexts: Tensor, responses: Tensor) -> None:
        """Move the thresholds towards this step's target, by the activity measured in it."""
        vectors: dict[Side, Tensor] = {"context": contexts, "response": responses}
        measured = activity(contexts, responses)
        for side, (measure, budget) in self._budgets.items():
            measurement = max(measured[measure].item(), 1e-3)  # a collapsed student has none
            first = self._first.setdefault(side, measurement)
            target = first * (budget / first) ** self._approach(step)

            active = vectors[side][vectors[side] > 0]
            if len(active):
                # Logits above the threshold fall off about exponentially, with their mean as the scale.
                self._scale[side] = active.expm1().mean().item()

            deviation = max(-1.0, min(1.0, math.log(measurement / target)))
            self._thresholds[side].value += _GAIN * self._scale.get(side, 1.0) * deviation

    @contextmanager
    def lowered(self) -> Iterator[None]:
        """Lower the thresholds while the body runs: `calibrate` needs more terms than the budget."""
        values = self.thresholds()
        for side, threshold in self._thresholds.items():
            threshold.value -= self._scale.get(side, 1.0)
        yield
        for side, threshold in self._thresholds.items():
            threshold.value = values[side]

    def calibrate(self, contexts: Tensor, responses: Tensor) -> tuple[Tensor, Tensor, dict[Side, float]]:
        """Return `contexts` [B, V] and `responses` [N, V] at the budget, and the thresholds that do it.

        Both must have been encoded while `lowered`. Dropout is off here, which alone changes the activity.
        """
        logits: dict[Side, Tensor] = {"context": contexts.expm1(), "response": responses.expm1()}
        raised: dict[Side, float] = {}
        for side, (measure, budget) in self._budgets.items():

            def activity_at(value: float, side: Side = side, measure: str = measure) -> float:
                sides = list(self._budgets) if measure == "flops" else [side]
                vectors = self._above(logits, {**raised, **dict.fromkeys(sides, value)})
                measurement: float = activity(*vectors)[measure].item()
                return measurement

            low, high = 0.0, logits[side].max().item()
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                low, high = (middle, high) if activity_at(middle) > budget else (low, middle)

            # In bf16 many logits are equal, and the budget may lie between two counts.
            raised[side] = min(low, high, key=lambda value: abs(activity_at(value) - budget))

        thresholds: dict[Side, float] = {}
        for side, threshold in self._thresholds.items():
            thresholds[side] = threshold.value - self._scale.get(side, 1.0) + raised[side]
        context_logits, response_logits = self._above(logits, raised)
        return context_logits.relu().log1p(), response_logits.relu().log1p(), thresholds

    def _above(self, logits: dict[Side, Tensor], raised: dict[Side, float]) -> tuple[Tensor, Tensor]:
        """Return the logits of both sides minus the `raised` thresholds; a shared encoder has one."""
        shared = self._config.encoders == "shared"
        response_threshold = raised["context"] if shared else raised.get("response", 0.0)
        return logits["context"] - raised.get("context", 0.0), logits["response"] - response_threshold

    def _approach(self, step: int) -> float:
        """Return the share of the way from the first activity to the budget at `step`."""
        return min(1.0, (step + 1) / self._warmup) ** 2

    def thresholds(self) -> dict[Side, float]:
        """Return the current thresholds."""
        return {side: threshold.value for side, threshold in self._thresholds.items()}

    def state(self) -> State:
        """Return the state that a checkpoint saves."""
        return {"threshold": self.thresholds(), "first": dict(self._first), "scale": dict(self._scale)}
