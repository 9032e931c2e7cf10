"""The config of a comparison of training sets, of people's conversations and synthesised ones (CoDi)."""

import argparse

from pydantic import Field, model_validator

from jobs.config import JobConfig, option_parser, parse_as
from teachers.config import Section, TeacherConfig
from teachers.corpora.config import DocumentsConfig, QuestionsConfig, Sources
from teachers.generation.config import HUMAN

# Of a job's sections, those that nothing is made of here.
_UNUSED = (
    "examples",
    "generate",
    "filters",
    "candidates",
    "score",
    "targets",
    "evaluate",
    "teachers",
)
UNTRAINED, BM25, ZERO_SHOT = "untrained", "BM25", "zero-shot"
_BASELINES = {name.lower() for name in (UNTRAINED, BM25, ZERO_SHOT)}


class TrainingSet(Section):
    """How many questions a student learns, for each of people's training questions."""

    human: float = Field(0, ge=0, le=1)
    synthesised: float = Field(0, ge=0)


class GeneratorConfig(Section):
    """A small language model that writes the replies that a retriever finds; it is shown the document."""

    model: str = "smollm2-135m-instruct"
    """As `teachers.NAME.model`; `finetune` says how it learns."""
    system_prompt: str = "Answer the last message in one or two sentences, with what the text says."
    """For learning and writing."""
    sets: list[str] = Field(default_factory=list)
    """Training sets, each of which it learns anew; it is measured as it is, too."""
    contexts: int = Field(100, ge=1)
    """Test questions that it answers."""
    max_tokens: int = Field(96, ge=1)
    """Of an answer, which is cut there."""
    max_sane_loss: float = Field(4.0, gt=0)
    """As `teachers.NAME.max_sane_loss`."""


class GroundedConfig(JobConfig):
    """A student for each training set, measured on people's held-out questions over the same documents."""

    documents: DocumentsConfig
    questions: QuestionsConfig
    """People's, with `positives` and `response`; split by conversation."""
    synthesised: Sources = Field(default_factory=list)
    """Files of questions that `jobs/synthesise.py` wrote about the same documents; none where no set has
    any."""
    sets: dict[str, TrainingSet] = Field(min_length=1)
    """Training sets by name: how many questions of people (`human`, at most 1) and `synthesised` ones, for
    each of people's training questions."""
    generator: GeneratorConfig | None = None
    """A small language model that learns to write the replies; none where not given."""
    teachers: dict[str, TeacherConfig] = Field(default_factory=dict)
    """None: what is right is known."""

    @property
    def names_of_scores(self) -> list[str]:
        """Nobody scores: people and plans say what is right."""
        return [HUMAN]

    @model_validator(mode="after")
    def _is_grounded(self) -> "GroundedConfig":
        for section in _UNUSED:
            if section in self.model_fields_set:
                raise ValueError(f"{section}: a comparison of training sets has no such section")
        for name, of in self.sets.items():
            if not name.replace("-", "").isalnum():
                raise ValueError(f"sets.{name}: wanted are letters, digits and '-'")
            if name.lower() in _BASELINES:
                raise ValueError(f"sets.{name}: that is the name of a system that is measured beside them")
            if not of.human and not of.synthesised:
                raise ValueError(f"sets.{name}: neither people's nor synthesised questions")
            if of.synthesised and not self.synthesised:
                raise ValueError(f"synthesised: no file is given, and sets.{name} wants such questions")
        for name in self.generator.sets if self.generator else ():
            if name not in self.sets:
                raise ValueError(f"generator.sets: {name!r} is none of `sets`")
        if self.generator and self.generator.sets and not self.finetune.epochs:
            raise ValueError("finetune.epochs: 0, and the generator is to learn")
        if not self.student.cross_entropy_weight:
            raise ValueError("student.cross_entropy_weight: 0, and nothing else is learned here")
        return self


def parse_grounded(arguments: list[str]) -> tuple[GroundedConfig, argparse.Namespace]:
    """The config and the options `config`, `run` and `results`.

    Raises:
        ConfigError: anything is wrong with them.
    """
    parser = option_parser("compare_training_sets.py", "configs/training_sets.yaml")
    parser.add_argument("--results", help="Markdown file whose part of this config's name gets the tables")
    return parse_as(GroundedConfig, parser, arguments)
