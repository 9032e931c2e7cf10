"""The config of a distillation: conversations to a served retriever (G2R)."""

import argparse

from pydantic import Field, model_validator

from jobs.config import StudentSections, TaughtJobConfig, option_parser, parse_as
from student.config import FinetuneConfig, TrainingConfig
from teachers.config import GenerateConfig, Section, scores
from teachers.corpora.config import ExamplesConfig
from teachers.generation.config import ResponseFiltersConfig, ResponseSetConfig
from teachers.scoring.config import CandidatesConfig, ScoreConfig, TargetsConfig

# The order of jobs.distillation.stages.STAGES, which takes seconds to import.
STAGE_NAMES = (
    "examples",
    "finetune",
    "contexts",
    "generate",
    "response_set",
    "neighbours",
    "candidates",
    "score",
    "targets",
    "train",
    "index",
    "evaluate",
)


class EvaluateConfig(Section):
    """What the student is measured on."""

    contexts: int = Field(600, ge=1)
    """Test contexts; all there are where there are fewer."""
    seed: int = 0
    """Seed of the 19 other candidates."""
    conversations: int = Field(50, ge=0)
    """Test conversations whose user's turns the responder answers, with its own answers between them."""
    scripts: dict[str, str] = Field({})
    """Further conversations that it answers: JSON Lines with `turns`, a user's turns, by a name of yours."""


class DistillationConfig(StudentSections, TaughtJobConfig):
    """Teachers write responses and score candidates; a student learns from the scores."""

    examples: ExamplesConfig = ExamplesConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    generate: GenerateConfig = GenerateConfig()
    filters: ResponseFiltersConfig = ResponseFiltersConfig()
    response_set: ResponseSetConfig = ResponseSetConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    score: ScoreConfig = ScoreConfig()
    targets: TargetsConfig = TargetsConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def trainings(self) -> dict[str, TrainingConfig]:
        trainings: dict[str, TrainingConfig] = {"student": self.student}
        if self.finetune.epochs:
            trainings["finetune"] = self.finetune
        return trainings

    @model_validator(mode="after")
    def _check_sections(self) -> "DistillationConfig":
        if self.candidates.generated_per_teacher > self.generate.samples:
            raise ValueError(
                f"candidates.generated_per_teacher = {self.candidates.generated_per_teacher} is more than "
                f"generate.samples = {self.generate.samples}"
            )
        scorers = [name for name, teacher in self.teachers.items() if scores(teacher)]
        self.targets.check_weights(self.teachers, scorers)
        if not scorers:
            raise ValueError("teachers: expected at least one teacher that scores")
        is_fitted = self.targets.temperature == "entropy" or self.targets.scale == "teacher"
        if is_fitted and self.candidates.scored_contexts == 0:
            raise ValueError(
                "candidates.scored_contexts: expected 1 or more, for `targets` is fitted to scores"
            )
        if self.targets.fits_on_validation and not self.candidates.validation_contexts:
            raise ValueError("targets: fitting on validation needs candidates.validation_contexts")
        return self


def parse(arguments: list[str]) -> tuple[DistillationConfig, argparse.Namespace]:
    """Return the config and the options `config`, `run`, `until` and `deploy`.

    Raises:
        ConfigError: anything is wrong with them.
    """
    parser = option_parser("distill.py", "configs/local.yaml")
    parser.add_argument("--until", choices=STAGE_NAMES, default=STAGE_NAMES[-1])
    parser.add_argument(
        "--deploy", type=int, nargs="?", const=8000, metavar="PORT", help="then serve the run over HTTP"
    )
    return parse_as(DistillationConfig, parser, arguments)
