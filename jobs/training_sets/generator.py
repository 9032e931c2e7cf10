"""A small language model writes the replies: as it is, and fine-tuned on training sets (CoDi)."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.distillation.stages import finetuned
from jobs.execution.job import Job
from jobs.execution.run_directory import key_of
from jobs.stages.teacher_inference import generate_samples
from jobs.training_sets.config import ZERO_SHOT, GroundedConfig
from jobs.training_sets.stages import parts_of
from student.evaluation.answers import exact_match, token_f1
from student.evaluation.statistics import interval, paired_difference
from teachers.config import VllmTeacher
from teachers.corpora.training_sets import ExamplesWithDocuments
from teachers.generation.config import GenerateConfig
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import Row, samples_uri

MAIN_MEASURE = "token F1"
_MEASURES = {MAIN_MEASURE: token_f1, "exact match": exact_match}
_ALMOST_GREEDY = 0.01


def generators(job: Job, config: GroundedConfig) -> dict[str, Any] | None:
    """`questions`, `conversations` and by system its `metrics` and `against`; None where there is none."""
    of = config.generator
    if of is None:
        return None
    uri, documents, seed = job.run.at("questions"), job.run.at("documents"), config.student.seed
    base = VllmTeacher(
        model=of.model,
        system_prompt=of.system_prompt,
        max_model_tokens=2 * config.finetune.max_tokens,
        max_sane_loss=of.max_sane_loss,
    )
    writers = {ZERO_SHOT: base}
    for name in of.sets:
        learned = ExamplesWithDocuments(parts_of(job, config.sets[name]), uri, documents, seed)
        writers[name] = finetuned(job, f"generator-{name}", base, learned)
        print(f"generator-{name}: {writers[name].model}", flush=True)
    asked = list(islice(ExamplesWithDocuments([], uri, documents, seed, "test"), of.contexts))
    generation = GenerateConfig(samples=1, max_tokens=of.max_tokens, temperature=_ALMOST_GREEDY)
    said = {name: writer.model_dump() for name, writer in writers.items()}
    return job.once(
        "generators",
        key_of(asked, said, generation.model_dump()),
        lambda: _measured(asked, _answers(job, writers, asked, generation)),
    )


def _answers(
    job: Job, writers: Mapping[str, VllmTeacher], asked: list[Row], generation: GenerateConfig
) -> dict[str, list[str]]:
    """Writer -> its answer to each that is asked; none where the context is too long for it."""
    generate_samples(job.run, job.store, dict(writers), asked, generation)
    samples = {
        name: StoredSamples(samples_uri(job.store, writer, generation), asked, writer, generation)
        for name, writer in writers.items()
    }
    return {name: [found[0].text for _, found in of] for name, of in samples.items()}


def _measured(asked: list[Row], answers: Mapping[str, list[str]]) -> dict[str, Any]:
    groups = [row["conversation_id"] for row in asked]
    values = {name: _values(said, asked) for name, said in answers.items()}
    first = values[ZERO_SHOT][MAIN_MEASURE]
    return {
        "questions": len(asked),
        "conversations": len(set(groups)),
        "systems": {
            name: {
                "metrics": {metric: vars(interval(of, groups)) for metric, of in found.items()},
                "against": {ZERO_SHOT: vars(paired_difference(first, found[MAIN_MEASURE], groups))}
                if name != ZERO_SHOT
                else {},
            }
            for name, found in values.items()
        },
    }


def _values(answers: list[str], asked: list[Row]) -> dict[str, NDArray[np.float64]]:
    """Measure -> [1, C]"""
    pairs = [(answer, row["gold_response"]) for answer, row in zip(answers, asked, strict=True)]
    return {metric: np.array([[measure(*pair) for pair in pairs]]) for metric, measure in _MEASURES.items()}
