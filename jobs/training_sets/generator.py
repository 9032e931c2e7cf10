"""A small language model that writes the responses, untrained and fine-tuned on training sets (CoDi)."""

import logging
from collections.abc import Mapping
from itertools import islice, starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.execution.job import Counts
from jobs.execution.run_directory import key_of
from jobs.stages.teacher_inference import generate_samples
from jobs.stages.training import finetuned
from jobs.training_sets.config import ZERO_SHOT
from jobs.training_sets.stages import TrainingSetsJob, parts_of
from student.evaluation.answers import exact_match, token_f1
from student.evaluation.statistics import interval, paired_difference
from teachers.config import GenerateConfig, VllmTeacher
from teachers.corpora.training_sets import ExamplesWithDocuments
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import Row, samples_uri

logger = logging.getLogger(__name__)

MAIN_MEASURE = "token F1"
_MEASURES = {MAIN_MEASURE: token_f1, "exact match": exact_match}
_ALMOST_GREEDY = 0.01


def measure_generators(job: TrainingSetsJob) -> Counts | None:
    """Return `questions`, `conversations` and by system its `metrics` and `against`.

    None where the config has no generator.
    """
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
        lambda: _measure(questions, _answers(job, writers, questions, generation)),
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


def _measure(questions: list[Row], answers: Mapping[str, list[str]]) -> dict[str, Any]:
    groups = [row["conversation_id"] for row in questions]
    values = {name: _values(texts, questions) for name, texts in answers.items()}
    zero_shot = values[ZERO_SHOT][MAIN_MEASURE]

    systems = {}
    for name, by_metric in values.items():
        metrics, against = {}, {}
        for metric, metric_values in by_metric.items():
            metrics[metric] = vars(interval(metric_values, groups))
        if name != ZERO_SHOT:
            against[ZERO_SHOT] = vars(paired_difference(zero_shot, by_metric[MAIN_MEASURE], groups))
        systems[name] = {"metrics": metrics, "against": against}
    return {"questions": len(questions), "conversations": len(set(groups)), "systems": systems}


def _values(answers: list[str], questions: list[Row]) -> dict[str, NDArray[np.float64]]:
    """Return the values [1, C] of each measure."""
    gold_responses = [row["gold_response"] for row in questions]
    pairs = list(zip(answers, gold_responses, strict=True))
    values = {}
    for name, measure in _MEASURES.items():
        values[name] = np.array([list(starmap(measure, pairs))])
    return values
