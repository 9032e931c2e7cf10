"""A small language model that writes the responses, untrained and fine-tuned on training sets (CoDi)."""

import logging
from collections.abc import Mapping
from itertools import islice

from jobs.execution.job import Counts
from jobs.execution.run_directory import key_of
from jobs.stages.teacher_inference import generate_samples
from jobs.stages.training import finetuned
from jobs.training_sets.config import ZERO_SHOT
from jobs.training_sets.stages import TrainingSetsJob, parts_of
from student.evaluation.answers import measure_answers
from teachers.config import GenerateConfig, VllmTeacher
from teachers.corpora.training_sets import ExamplesWithDocuments
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import Row, samples_uri

logger = logging.getLogger(__name__)

_ALMOST_GREEDY = 0.01


def measure_generators(job: TrainingSetsJob) -> Counts | None:
    """Return what `measure_answers` does of the writers; None where the config has no generator."""
    config = job.config.generator
    if config is None:
        return None

    writers = _writers(job)
    test = ExamplesWithDocuments(
        [], job.run.at("questions"), job.run.at("documents"), job.config.student.seed, "test"
    )
    questions = list(islice(test, config.contexts))
    generation = GenerateConfig(samples=1, max_tokens=config.max_tokens, temperature=_ALMOST_GREEDY)

    settings = {name: writer.model_dump() for name, writer in writers.items()}
    return job.once(
        "generators",
        key_of(questions, settings, generation.model_dump()),
        lambda: measure_answers(questions, _answers(job, writers, questions, generation), ZERO_SHOT),
    )


def _writers(job: TrainingSetsJob) -> dict[str, VllmTeacher]:
    """Return the generator untrained, and after it learned each of its sets."""
    config = job.config.generator
    assert config is not None
    base = VllmTeacher(
        model=config.model,
        system_prompt=config.system_prompt,
        max_model_tokens=2 * job.config.finetune.max_tokens,
        max_sane_loss=config.max_sane_loss,
    )

    questions, documents = job.run.at("questions"), job.run.at("documents")
    writers = {ZERO_SHOT: base}
    for name in config.sets:
        parts = parts_of(job, job.config.sets[name])
        examples = ExamplesWithDocuments(parts, questions, documents, job.config.student.seed)
        writers[name] = finetuned(job, f"generator-{name}", base, examples)
        logger.info("generator-%s: %s", name, writers[name].model)
    return writers


def _answers(
    job: TrainingSetsJob,
    writers: Mapping[str, VllmTeacher],
    questions: list[Row],
    generation: GenerateConfig,
) -> dict[str, list[str]]:
    """Return each writer's answers to the questions; empty where the context is too long for it."""
    generate_samples(job.run, job.store, dict(writers), questions, generation)

    answers = {}
    for name, writer in writers.items():
        uri = samples_uri(job.store, writer, generation)
        samples = StoredSamples(uri, questions, writer, generation)
        answers[name] = [first.text for _, [first, *_] in samples]
    return answers
