"""A learning curve over conversations with human responses: with teachers, and without."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.comparison.config import LabelCurveConfig
from jobs.distillation.stages import DistillationJob
from jobs.reports.comparison import LabelCurve, LabelCurvePoint
from student.evaluation.statistics import Difference, Values, holm, interval, paired_difference
from teachers.dataset import Rows

_SIGNIFICANT_P = 0.05


def label_curve(
    config: LabelCurveConfig,
    jobs: Mapping[str, DistillationJob],
    values: Mapping[str, Values],
    conversation_ids: Sequence[str],
) -> LabelCurve:
    """Return the curve of S students a system, on C contexts.

    `values` [S, C] are of its metric, by system; `conversation_ids` [C] are the contexts'.
    """
    groups = conversation_ids
    differences = _differences(config, values, groups)

    points = []
    for number, full, human in config.points():
        points.append(
            LabelCurvePoint(
                conversations=str(number),
                responses=_num_human_responses(jobs[full]),
                with_teachers=interval(values[full], groups),
                without_teachers=interval(values[human], groups) if human else None,
                difference=differences.get(full),
            )
        )
    num_seeds = len(values[config.points()[0][1]])
    return LabelCurve(config.metric, points, conclusion(config.metric, points, num_seeds))


def _differences(
    config: LabelCurveConfig, values: Mapping[str, Values], groups: Sequence[str]
) -> dict[str, Difference]:
    """Return each difference by the system with teachers, its p-value corrected for their number."""
    differences = {}
    for _, full, human in config.points():
        if human is not None:
            differences[full] = paired_difference(values[human], values[full], groups)

    corrected = holm([difference.p_value for difference in differences.values()])
    return {
        name: replace(difference, p_value=p_value)
        for (name, difference), p_value in zip(differences.items(), corrected, strict=True)
    }


def _num_human_responses(job: DistillationJob) -> int:
    """Return the number of training contexts with a gold response."""
    rows = Rows(job.run.at("candidates"), "train")
    return sum(row["candidates"][0]["source"] == "gold" for row in rows)


def conclusion(metric: str, points: Sequence[LabelCurvePoint], num_seeds: int) -> str:
    """Say with how many conversations the teachers are worth how much, as far as it is shown (p < 0.05).

    The tests are of these trainings: of other ones they say nothing.
    """
    gains: list[str] = []
    losses: list[str] = []
    unknown: list[str] = []
    for point in points:
        if point.difference is None:
            continue
        if point.difference.p_value >= _SIGNIFICANT_P:
            unknown.append(point.conversations)
        else:
            amount = f"{point.difference.mean:+.3f} with {point.conversations}"
            (gains if point.difference.mean > 0 else losses).append(amount)

    sentences = []
    if gains:
        sentences.append(f"The teachers add to {metric}: {_listed(gains)} conversations.")
    if losses:
        sentences.append(f"They take from it: {_listed(losses)} conversations.")
    if unknown:
        sentences.append(f"No difference is shown with {_listed(unknown)} conversations.")
    trainings = "one training" if num_seeds == 1 else f"{num_seeds} trainings"
    sentences.append(f"That is of {trainings} each, and of one draw of the conversations.")
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
