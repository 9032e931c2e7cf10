"""What can be known to be wrong before anything is started."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import ray

from jobs.config import ConfigError, JobConfig
from jobs.conversational_search.config import SearchConfig
from jobs.execution.cluster import is_joined
from jobs.synthesis.config import SynthesisJobConfig
from jobs.training_sets.config import GroundedConfig
from student.config import TrainingConfig
from student.encoders.packaged import resolve_model
from teachers.config import EndpointTeacher
from teachers.corpora.conversations import check_source
from teachers.corpora.documents import check_corpus
from teachers.engines.weights import check_model
from teachers.generation.filters import filters
from teachers.generation.rewriting import read_prompt
from teachers.scoring.candidates import RANKED_CANDIDATES
from teachers.synthesis.entailment import check_entailment
from teachers.synthesis.plans import graph_of


def check_inputs(config: JobConfig) -> None:
    """Raises ConfigError where data or weights that the config names are missing."""
    _check_teachers(config)
    if isinstance(config, SynthesisJobConfig):
        for corpus in config.documents.corpus:
            _check("documents.corpus", partial(check_corpus, corpus))
        _check("synthesis", lambda: graph_of(config.synthesis))
        if (model := config.checks.entailment_model) is not None:
            _check("checks.entailment_model", partial(check_entailment, model))
        filters(config.filters)
        return
    _check("student.model", lambda: resolve_model(config.student.model))
    if isinstance(config, SearchConfig | GroundedConfig):
        _check_questions(config)
        if isinstance(config, GroundedConfig):
            for source in config.synthesised:
                _check("synthesised", partial(check_source, source))
            if config.generator is not None:
                _check("generator.model", partial(check_model, config.generator.model))
            return
        for name, run in config.pools.runs.items():
            _check(f"pools.runs.{name}", partial(check_source, run))
        _check("rewriting.prompt", lambda: read_prompt(config.rewriting))
        return
    _check("examples.conversations", lambda: check_source(config.examples.conversations))
    filters(config.filters)
    _check("candidates.retriever", lambda: resolve_model(config.candidates.retriever))
    if config.examples.max_test < RANKED_CANDIDATES:
        raise ConfigError(
            f"examples.max_test: {config.examples.max_test} test replies are fewer than the "
            f"{RANKED_CANDIDATES} candidates of hits@1/{RANKED_CANDIDATES}"
        )


def _check_questions(config: SearchConfig | GroundedConfig) -> None:
    for corpus in config.documents.corpus:
        _check("documents.corpus", partial(check_corpus, corpus))
    for key, sources in (
        ("questions.conversations", config.questions.conversations),
        ("questions.test_conversations", config.questions.test_conversations),
    ):
        for source in sources:
            _check(key, partial(check_source, source))


def _check_teachers(config: JobConfig) -> None:
    for name, teacher in config.teachers.items():
        if isinstance(teacher, EndpointTeacher):
            if teacher.tokenizer is not None:
                _check(f"teachers.{name}.tokenizer", partial(check_model, teacher.tokenizer))
        else:
            _check(f"teachers.{name}.model", partial(check_model, teacher.model))


@dataclass(frozen=True)
class Demand:
    """Processes that have to run at the same time."""

    key: str
    """Of the config, which asks for them."""
    count: int
    each: dict[str, float]
    """Ray's resources of one."""
    node_labels: dict[str, str]


def demands(config: JobConfig) -> list[Demand]:
    """What the config's teachers and trainings ask of the cluster, one after the other."""
    found = [
        Demand(
            f"teachers.{name}.replicas",
            teacher.at_least(),
            {"CPU": teacher.num_cpus, "GPU": teacher.num_gpus},
            teacher.node_labels,
        )
        for name, teacher in config.teachers.items()
    ]
    if isinstance(config, SynthesisJobConfig):
        return found
    trainings: dict[str, TrainingConfig] = {"student": config.student}
    if config.finetune.epochs:
        trainings["finetune"] = config.finetune
    for name, training in trainings.items():
        each = {"CPU": float(training.cpus_per_worker), "GPU": float(training.use_gpu)}
        found.append(Demand(f"{name}.num_workers", training.num_workers, each, training.node_labels))
    return found


def check_resources(config: JobConfig) -> None:
    """Raises ConfigError where this machine's Ray can never give what the config asks for.

    A cluster that was joined may grow: what it lacks now is told, and Ray waits for it.
    """
    has = ray.cluster_resources()
    asked = [
        (demand.key, resource, demand.count * amount)
        for demand in demands(config)
        for resource, amount in demand.each.items()
    ]
    if isinstance(config, SynthesisJobConfig):
        for resource in ("CPU", "GPU"):
            together = sum(amount for _, of, amount in asked if of == resource)
            asked.append(("teachers, who write at the same time", resource, together))
    for key, resource, amount in asked:
        needed = amount + (resource == "CPU")  # one reads and writes the data
        if needed > has.get(resource, 0):
            line = f"{key}: needs {needed:g} {resource}, the cluster has {has.get(resource, 0):g}"
            if not is_joined():
                raise ConfigError(line)
            print(f"warning: {line} now; the job waits until it has more", flush=True)


def _check(key: str, check: Callable[[], object]) -> None:
    try:
        check()
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None
