"""Win rates of the systems' responses, by the judges."""

from jobs.comparison.judging import held_out_rows, judges
from jobs.comparison.systems import ComparisonJob
from jobs.distillation.stages import DistillationJob
from jobs.reports.comparison import Judgement
from student.evaluation.measured_systems import mean_intervals
from student.evaluation.statistics import Interval
from teachers.config import writes
from teachers.dataset import read_rows
from teachers.inference.store import Row
from teachers.scoring.ensemble import Array
from teachers.scoring.scored_rows import read_scores
from teachers.scoring.win_rates import judge_responses, reference_responses


class WinRates:
    """Win rates of systems by every judge's scores, on some test contexts.

    `baseline` has the responses by example_id that every system is compared with.
    """

    def __init__(self, base: ComparisonJob, num_contexts: int, baseline: dict[str, str]) -> None:
        self._baseline = baseline
        self._conversations: dict[str, str] = {}
        for row in held_out_rows(base, num_contexts):
            self._conversations[row["example_id"]] = row["conversation_id"]

        self._rows: list[Row] = []
        self._scores: dict[str, dict[str, Array]] = {}
        if not self._conversations:
            return

        candidates_uri = base.run.at("judged", "candidates")
        rows = read_rows(candidates_uri)
        self._rows = [row for row in rows if row["example_id"] in self._conversations]

        for judge in judges(base):
            scores_uris = {judge: base.run.at("judged", "scores", judge)}
            scores = read_scores(candidates_uri, scores_uris, "pointwise_mutual_information", "test")
            self._scores[judge] = {example_id: by_teacher[0] for example_id, by_teacher in scores}

    def references(self) -> dict[str, dict[str, str]]:
        """Return responses that no system retrieved, by name and example_id."""
        return reference_responses(self._rows)

    def of_system(
        self,
        responses: dict[str, str],
        trained_by: set[str],
        against: tuple[str, dict[str, str]] | None = None,
    ) -> list[Judgement]:
        """Return for each judge the mean measures of a system's responses, with their intervals.

        A judge that trained the system, or wrote the responses, is left out where there is another. `against`
        is a further system to win over: its name and responses.
        """
        impartial_judges = [judge for judge in self._scores if judge not in trained_by]

        judgements: list[Judgement] = []
        for judge in impartial_judges or self._scores:
            means = self._means(judge, responses, self._baseline)
            if not means:
                continue

            name, others = against or (None, {})
            wins = self._means(judge, responses, others).get("win_rate_baseline") if others else None
            judgements.append(
                Judgement(
                    judge,
                    trained_on=judge in trained_by,
                    score=means["score"],
                    win_rate_human=means["win_rate_human"],
                    win_rate_generated=means["win_rate_generated"],
                    win_rate_baseline=means["win_rate_baseline"],
                    against=name,
                    win_rate_against=wins,
                )
            )
        return judgements

    def _means(self, judge: str, responses: dict[str, str], baseline: dict[str, str]) -> dict[str, Interval]:
        """Return the mean of each field of `JudgedResponse`; none where no context is judged."""
        judged = judge_responses(self._rows, self._scores[judge], responses, baseline)
        conversations = [self._conversations[example_id] for example_id in judged]
        return mean_intervals(list(map(vars, judged.values())), conversations) if judged else {}


def trained_by(system: DistillationJob) -> set[str]:
    """Return the teachers that trained a system, by their scores or by the responses they wrote."""
    config, weights = system.config, system.config.targets.weights
    learns_scores = config.student.kl_weight or config.student.margin_mse_weight

    names = set()
    for name, teacher in system.teachers.items():
        has_weight = not isinstance(weights, dict) or weights.get(name, 1.0)
        if (learns_scores and has_weight) or (config.candidates.generated_per_teacher and writes(teacher)):
            names.add(name)
    return names
