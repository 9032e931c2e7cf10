"""What the judges' scores say of each system's answers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.comparison.judging import held_out_rows, judges
from jobs.config import JobConfig
from jobs.execution.job import Job
from jobs.reports.comparison import Judgement
from student.evaluation.statistics import interval
from teachers.config import writes
from teachers.dataset import read_rows
from teachers.scoring.targets import read_scores


class Verdicts:
    """Every judge's scores of the judged answers, replies and responses of some test contexts."""

    def __init__(self, base: Job, num_contexts: int) -> None:
        self._conversation = {
            row["example_id"]: row["conversation_id"] for row in held_out_rows(base, num_contexts)
        }
        rows = read_rows(base.run.at("judged", "candidates"))
        self._rows = [row for row in rows if row["example_id"] in self._conversation]
        self._scores = {
            name: dict(
                read_scores(
                    base.run.at("judged", "candidates"),
                    {name: base.run.at("judged", "scores", name)},
                    "pointwise_mutual_information",
                    "test",
                )
            )
            for name in judges(base)
        }

    def of(self, answers: dict[str, str], trained_by: set[str]) -> list[Judgement]:
        """What each judge says of a system's answers; one that trained it is left out where there is another.

        A win over what equals the answer, or scores the same, is half a win.
        """
        impartial = [judge for judge in self._scores if judge not in trained_by]
        found = []
        for judge in impartial or self._scores:
            judged = [
                (self._conversation[row["example_id"]], measures)
                for row in self._rows
                if row["example_id"] in self._scores[judge]
                and (measures := _measures(row, self._scores[judge][row["example_id"]][0], answers))
            ]
            if not judged:
                continue
            groups = [conversation for conversation, _ in judged]
            means = {
                name: interval(np.array([[measures[name] for _, measures in judged]]), groups)
                for name in ("mutual_information", "win_rate_human", "win_rate_generated")
            }
            found.append(Judgement(judge, judge in trained_by, **means))
        return found


def _measures(
    row: dict[str, Any], scores: NDArray[np.float64], answers: dict[str, str]
) -> dict[str, float] | None:
    """One answer beside the true and the written replies; None where a score or a written reply is missing.

    `scores` [K] are of the candidates of the row, the true reply first.
    """
    texts = [candidate["text"] for candidate in row["candidates"]]
    sources = np.array([candidate["source"] for candidate in row["candidates"]])
    own, human = scores[texts.index(answers[row["example_id"]])], scores[0]
    generated = scores[sources == "generated"]
    if not len(generated) or not np.isfinite([own, human, *generated]).all():
        return None
    return {
        "mutual_information": float(own),
        "win_rate_human": _wins(own, human),
        "win_rate_generated": float(np.mean([_wins(own, other) for other in generated])),
    }


def _wins(own: float, other: float) -> float:
    return 0.5 if own == other else float(own > other)


def trained_by(system: Job) -> set[str]:
    """Teachers that had a say in what a system learned, by their scores or by what they wrote."""
    config: JobConfig = system.config
    scored: set[str] = set()
    if config.student.kl_weight or config.student.margin_mse_weight:
        weights = config.targets.weights
        scored = {name for name in system.teachers if not isinstance(weights, dict) or weights.get(name, 1.0)}
    wrote = {name for name, teacher in system.teachers.items() if writes(teacher)}
    return scored | wrote if config.candidates.generated_per_teacher else scored
