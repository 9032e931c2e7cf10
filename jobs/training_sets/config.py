"""The config of a comparison of training sets, of human-written and synthesised conversations (CoDi)."""

import argparse

from pydantic import Field, model_validator

from jobs.config import JobConfig, StudentSections, check_name, option_parser, parse_as
from student.config import FinetuneConfig, TrainingConfig
from teachers.config import Section
from teachers.corpora.config import DocumentsConfig, QuestionsConfig, Sources

UNTRAINED, BM25, ZERO_SHOT = "untrained", "BM25", "zero-shot"
_BASELINES = {name.lower() for name in (UNTRAINED, BM25, ZERO_SHOT)}


class TrainingSet(Section):
    """How many questions a student learns, for each of the human-written training questions."""

    human: float = Field(0, ge=0, le=1)
    synthesised: float = Field(0, ge=0)


class GeneratorConfig(Section):
    """A small language model that writes the responses that a retriever finds; it is shown the document."""

    model: str = "smollm2-135m-instruct"
    """As `teachers.NAME.model`; `finetune` says how it learns."""
    system_prompt: str = "Answer the last message in one or two sentences, with what the text says."
    """For learning and writing."""
    sets: list[str] = Field(default_factory=list)
    """Training sets, each of which it learns from the start; it is measured without training, too."""
    contexts: int = Field(100, ge=1)
    """Test questions that it answers."""
    max_tokens: int = Field(96, ge=1)
    """Of an answer, which is cut there."""
    max_sane_loss: float = Field(4.0, gt=0)
    """As `teachers.NAME.max_sane_loss`."""


class TrainingSetsConfig(StudentSections, JobConfig):
    """A student for each training set, measured on held-out human questions over the same documents.

    There are no teachers: people and plans say what is right.
    """

    finetune: FinetuneConfig = FinetuneConfig()
    documents: DocumentsConfig
    questions: QuestionsConfig
    """Human-written, with `positives` and `response`; split by conversation."""
    synthesised: Sources = Field(default_factory=list)
    """Files of questions that `jobs/synthesise.py` wrote about the same documents; none where no set has
    any."""
    sets: dict[str, TrainingSet] = Field(min_length=1)
    """Training sets by name: how many human-written questions (`human`, at most 1) and `synthesised` ones,
    for each human-written training question."""
    generator: GeneratorConfig | None = None
    """A small language model that learns to write the responses; none where not given."""

    def trainings(self) -> dict[str, TrainingConfig]:
        trainings = super().trainings()
        if self.finetune.epochs:
            trainings["finetune"] = self.finetune
        return trainings

    @model_validator(mode="after")
    def _check_sections(self) -> "TrainingSetsConfig":
        self._check_sets()

        generator = self.generator
        for name in generator.sets if generator else ():
            if name not in self.sets:
                raise ValueError(f"generator.sets: unknown set {name!r}; expected one of {list(self.sets)}")
        if generator and generator.sets and not self.finetune.epochs:
            raise ValueError(
                "finetune.epochs: expected 1 or more, since the generator learns `generator.sets`"
            )

        if not self.student.cross_entropy_weight:
            raise ValueError(
                "student.cross_entropy_weight: expected more than 0, nothing else is learned here"
            )
        return self

    def _check_sets(self) -> None:
        for name, training_set in self.sets.items():
            check_name("sets", name)
            if name.lower() in _BASELINES:
                raise ValueError(f"sets.{name}: is the name of a baseline; choose another")
            if not training_set.human and not training_set.synthesised:
                raise ValueError(f"sets.{name}: expected `human` or `synthesised` above 0")
            if training_set.synthesised and not self.synthesised:
                raise ValueError(f"synthesised: expected a file, since sets.{name} has synthesised questions")


def parse_training_sets(arguments: list[str]) -> tuple[TrainingSetsConfig, argparse.Namespace]:
    """Return the config and the options `config`, `run` and `results`."""
    parser = option_parser("compare_training_sets.py", "configs/training_sets.yaml")
    parser.add_argument("--results", help="Markdown file whose part of this config's name gets the tables")
    return parse_as(TrainingSetsConfig, parser, arguments)
