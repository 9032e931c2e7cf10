"""Sections of a config on candidates, scores and target distributions."""

from collections.abc import Collection
from typing import Literal

from pydantic import Field, field_validator

from teachers.config import Section


class CandidatesConfig(Section):
    """Candidates of each source for one context, beside its gold response."""

    generated_per_teacher: int = Field(2, ge=0)
    """Of what each teacher wrote."""
    retrieved: int = Field(2, ge=0)
    """The nearest training responses by `retriever`; the teachers judge them."""
    retriever: str = "all-minilm-l6-v2"
    """A dense retriever that stays as it is: the packaged `all-minilm-l6-v2`, a folder, or a cached id."""
    random: int = Field(1, ge=0)
    """Other training responses."""
    human_conversations: int | None = Field(None, ge=0)
    """Training conversations, drawn by `seed`, whose human responses are used; all where not given. Of the
    others the contexts alone are, and only those that teachers see, as of logs that nobody has answered."""
    scored_contexts: int | None = Field(None, ge=0)
    """Of the contexts that teachers see the first so many have candidates that they score, all where not
    given: scoring takes far longer than writing."""
    evaluation_contexts: int = Field(30, ge=0)
    """Test contexts on which teachers rank the gold response among 20."""
    validation_contexts: int = Field(0, ge=0)
    """Validation contexts on which they do, too; temperatures and weights are fitted there."""
    seed: int = 0
    """Seed of every random choice here."""


class ScoreConfig(Section):
    """How teachers score candidates."""

    batch_size: int = Field(8, ge=1)
    """Contexts in one engine call, and the most that a crash repeats."""
    repeated_share: float = Field(0.01, ge=0, le=1)
    """Share of pairs that are scored twice, to measure how much scores depend on order and batch."""


Normalisation = Literal["mean_log_likelihood", "log_likelihood_per_byte", "pointwise_mutual_information"]
Scale = Literal["context", "teacher", "none"]
Combination = Literal[
    "mean_of_distributions", "mean_of_scores", "product_of_experts", "reciprocal_rank_fusion", "max"
]


class TargetsConfig(Section):
    """From raw scores to one target distribution per context."""

    normalisation: Normalisation = "pointwise_mutual_information"
    """What a generative teacher's score is; a similarity is taken as it is."""
    scale: Scale = "context"
    """Unit of a teacher's scores: their deviation in each `context`, the `teacher`'s mean one, or `none`."""
    temperature: float | Literal["entropy", "validation"] = 0.5
    """Of each teacher's softmax, lower is sharper; or fitted to `entropy`, or to gold on `validation`."""
    entropy: float = Field(1.0, gt=0)
    """Nats that the mean entropy of a teacher's softened distributions is fitted to."""
    combination: Combination = "mean_of_scores"
    """How the teachers' distributions or scores become one."""
    weights: dict[str, float] | Literal["validation"] = Field({})
    """Weight per teacher, 1 where not named; or fitted to the gold responses of `validation`."""
    missing: Literal["neutral", "lowest", "leave_out"] = "neutral"
    """A missing score becomes the teacher's mean over the context, its lowest, or leaves the teacher out."""

    @field_validator("temperature")
    @classmethod
    def _positive(cls, temperature: float | str) -> float | str:
        if not isinstance(temperature, str) and temperature <= 0:
            raise ValueError("must be greater than 0")
        return temperature

    @field_validator("weights")
    @classmethod
    def _not_negative(cls, weights: dict[str, float] | str) -> dict[str, float] | str:
        for name, weight in weights.items() if isinstance(weights, dict) else ():
            if weight < 0:
                raise ValueError(f"expected 0 or more for {name}, got {weight:g}: no weight may be negative")
        return weights

    def check_weights(self, teachers: Collection[str], scorers: Collection[str]) -> None:
        """Raise ValueError where a weight names none of the teachers, or all weigh 0 of those that score."""
        if not isinstance(self.weights, dict):
            return
        for name in self.weights:
            if name not in teachers:
                raise ValueError(f"targets.weights.{name} names no teacher of `teachers`")
        if scorers and not any(self.weights.get(name, 1) for name in scorers):
            raise ValueError("targets.weights: expected a weight above 0 for some teacher, got 0 for all")

    @property
    def fits_on_validation(self) -> bool:
        return "validation" in (self.temperature, self.weights)
