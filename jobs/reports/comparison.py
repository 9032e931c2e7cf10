"""A comparison of systems: all figures that the page, the Markdown, the terminal and W&B show.

`report/comparison.json` is its `asdict`. Intervals are of 95 %, by a bootstrap over conversations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from student.evaluation.measured_systems import SystemRow
from student.evaluation.statistics import Difference, Interval

STATISTICS = (
    "Intervals are 95 %, by a bootstrap over conversations; p-values by a paired randomisation test over "
    "conversations, corrected for their number only among claims (Holm)."
)


@dataclass(frozen=True)
class HeldOutTable:
    """All systems on one held-out set."""

    name: str
    explanation: str
    contexts: int
    conversations: int
    responses: int
    rows: Sequence[SystemRow]
    compared_by: str = "mrr"
    """The metric by which Markdown and terminal compare the systems."""

    @property
    def metrics(self) -> list[str]:
        """Those that some row has, in the order in which they first come."""
        names: dict[str, None] = {}
        for row in self.rows:
            names |= dict.fromkeys(row.metrics)
        return list(names)


@dataclass(frozen=True)
class Claim:
    """A difference of two systems that was named before it was measured."""

    claim: str
    system: str
    against: str
    metric: str
    held_out: str
    """The set of contexts."""
    difference: Difference
    corrected_p: float
    """The difference's p-value, corrected for the number of claims (`student.evaluation.statistics.holm`)"""


@dataclass(frozen=True)
class LabelCurvePoint:
    """Two systems with human responses of the same conversations, with teachers and without."""

    conversations: str
    """Their number, or `all`."""
    responses: int
    """Human responses that the systems were trained on."""
    with_teachers: Interval
    without_teachers: Interval | None
    difference: Difference | None
    """With teachers less without; its p-value is corrected for the number of points (Holm)."""


@dataclass(frozen=True)
class LabelCurve:
    """A learning curve over conversations with human responses."""

    metric: str
    points: Sequence[LabelCurvePoint]
    conclusion: str
    """In words: with how many conversations the teachers are worth how much."""


@dataclass(frozen=True)
class RatingCorrelations:
    """Rank correlations of a scorer with human ratings; None where there is too little to correlate."""

    scorer: str
    spearman: Interval | None = None
    kendall: Interval | None = None
    spearman_within: Interval | None = None
    """Among responses to the same context."""
    kendall_within: Interval | None = None


@dataclass(frozen=True)
class Teachers:
    """What was measured of the teachers."""

    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Teacher or ensemble -> measure -> value, see `teachers.scoring.calibration.calibrate`."""
    kendall_tau: Mapping[str, float] = field(default_factory=dict)
    """By pair of teachers, as `NAME × NAME`."""
    ratings: Sequence[RatingCorrelations] = ()


@dataclass(frozen=True)
class Judgement:
    """What one judge's scores say of a system's responses."""

    judge: str
    trained_on: bool
    """Whether the system learned from this judge."""
    score: Interval
    win_rate_human: Interval
    win_rate_generated: Interval
    win_rate_baseline: Interval
    """Over the untrained student's responses."""
    against: str | None = None
    """The first system that this one is tested against, if any."""
    win_rate_against: Interval | None = None
    """Over that system's responses."""


@dataclass(frozen=True)
class AnswerRow:
    """A system's best response to each context, measured without a reference.

    What systems are compared with, such as the human responses, has judgements only.
    """

    system: str
    distinct_1: float | None = None
    distinct_2: float | None = None
    words: Interval | None = None
    generated_share: Interval | None = None
    judgements: Sequence[Judgement] = ()


@dataclass(frozen=True)
class ResponseTimes:
    """How long a system or a teacher takes to respond."""

    p50_ms: float
    p95_ms: float
    requests: int


@dataclass(frozen=True)
class Latency:
    """Response times by name."""

    students: Mapping[str, ResponseTimes]
    teachers: Mapping[str, ResponseTimes]
    note: str


def latency_of(counts: Mapping[str, Any], student: str, note: str, suffix: str = "") -> Latency:
    """The times in `counts` of a stage: of a student, and of the teachers, whose names get the suffix."""
    teachers = {}
    for name, times in counts["teachers"].items():
        if times:
            teachers[f"{name}{suffix}"] = ResponseTimes(**times)
    return Latency({student: ResponseTimes(**counts["student"])}, teachers, note)


@dataclass(frozen=True)
class ChosenResponse:
    """A system's best response to one context."""

    system: str
    text: str
    source: str
    """`gold` or `generated`."""


@dataclass(frozen=True)
class ReadingExample:
    """A context to read, with its gold response and those that the systems chose."""

    context: Sequence[Mapping[str, str]]
    gold: str
    answers: Sequence[ChosenResponse]


@dataclass(frozen=True)
class Comparison:
    """All figures of a comparison; what was not measured is empty."""

    title: str
    date: str
    machine: str
    command: str
    git_commit: str | None
    versions: Mapping[str, str]
    seeds: Sequence[int]
    notes: Sequence[str]
    tables: Sequence[HeldOutTable]
    claims: Sequence[Claim] = ()
    label_curve: LabelCurve | None = None
    answers: Sequence[AnswerRow] = ()
    conversations: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    """Set of users' turns -> system -> measure, see `student.evaluation.conversations`."""
    sparsity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """System -> metric -> value, see `student.evaluation.metrics.sparsity_metrics`."""
    learning_curves: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]] = field(default_factory=dict)
    """System -> seed -> the training's reports, each with its `step`."""
    teachers: Teachers = Teachers()
    filters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Teacher -> `kept` or why a response was dropped -> number of responses."""
    latency: Latency | None = None
    reading: Sequence[ReadingExample] = ()


def filter_outcomes(
    samples: Mapping[str, Mapping[str, int]], response_set: Mapping[str, Mapping[str, int]]
) -> dict[str, Mapping[str, int]]:
    """The outcomes of each teacher's samples, and those of the response set by origin."""
    outcomes = dict(samples)
    for origin, counts in response_set.items():
        outcomes[f"response set, {origin}"] = counts
    return outcomes


_CURVE_KEYS = ("step", "loss", "validation_mrr", "validation_hits@1/20", "validation_loss")


def learning_curve(reports: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """A training's reports with the measures that are drawn."""
    return [{key: report[key] for key in _CURVE_KEYS if key in report} for report in reports]
