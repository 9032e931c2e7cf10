"""The stages of a distillation, in order. Each names its inputs and its output; the rooms do the work."""

from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from jobs.distillation.config import DistillationConfig
from jobs.distillation.model_card import card_of, write_model_card
from jobs.distillation.report import write_page
from jobs.execution.job import Counts, Job, Stage, Step, warn
from jobs.execution.progress import embedding
from jobs.reports.licences import licences_of
from jobs.reports.terminal import report_metrics
from jobs.stages.teacher_inference import generate_samples, score_pairs
from jobs.stages.training import TRAIN, finetuned
from serve.conversations import (
    UserTurns,
    hold_conversations,
    measure_conversations,
    write_conversations,
)
from serve.indexing import ValidationContexts, write_confident_index
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.evaluation.held_out import ContextSample
from student.evaluation.response_ranking import evaluate_student
from student.evaluation.word_model import PRIOR_WORDS
from student.retrieval.neighbours import Retrieval, write_neighbours
from student.retrieval.reranking import Ranker, Reranked
from teachers import records
from teachers.config import TeacherConfig, VllmTeacher, Writer, scores, writes
from teachers.corpora.conversations import source_identity
from teachers.corpora.examples import held_out_user_turns, read_scripts, write_examples
from teachers.dataset import Rows, write_rows
from teachers.engines.protocol import Generation
from teachers.generation.filters import read_blocklist
from teachers.generation.finetuning import LearnedRows
from teachers.generation.response_set import ResponseSources, write_response_set
from teachers.generation.responses import write_responses
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import pairs_uri, samples_uri
from teachers.scoring.calibration import calibrate
from teachers.scoring.candidates import write_candidates
from teachers.scoring.pair_scores import write_scores
from teachers.scoring.targets import write_targets

DistillationJob = Job[DistillationConfig]


def _write_examples(job: DistillationJob) -> Counts:
    examples, human_responses = job.run.at("examples"), job.run.at("human_responses")
    return write_examples(examples, human_responses, job.run.at("rejected", "examples"), job.config.examples)


def finetune(job: DistillationJob) -> None:
    """Have each generative teacher learn the training conversations, a stage each (G2R §4.1)."""
    if not job.config.finetune.epochs:
        return

    examples = LearnedRows(job.run.at("examples"))
    for name, teacher in job.teachers.items():
        if isinstance(teacher, VllmTeacher):
            job.teachers[name] = finetuned(job, name, teacher, examples)


def _write_contexts(job: DistillationJob) -> Counts:
    """Contexts that the teachers see: the first training examples, where there are enough one of each run.

    After them come those that nobody has answered.
    """
    count, examples = job.config.generate.contexts, Rows(job.run.at("examples"), "train")
    num_examples = job.run.read_json("stages", "examples.json")["counts"]["train examples"]
    step = max(1, min(job.config.examples.run_length, num_examples // max(1, count)))
    contexts = islice(examples, 0, step * count, step)
    unanswered = Rows(job.run.at("examples"), "unanswered")
    written = write_rows(job.run.at("contexts"), chain(contexts, unanswered), records.EXAMPLES)
    return {"contexts": written}


def _generate_settings(job: DistillationJob) -> list[Any]:
    config, filters = job.config.generate, job.config.filters

    samples: dict[str, list[Any]] = {}
    for name, teacher in writers(job).items():
        uri = samples_uri(job.store, teacher, config)
        samples[name] = [uri, teacher.system_prompt, teacher.prompt_variants]

    blocklist = read_blocklist(filters.blocklist) if filters.blocklist else None
    return [samples, config.samples, [filters.model_dump(), blocklist]]


def _generate(job: DistillationJob) -> Counts:
    """Each teacher writes responses; the filters reject some."""
    config = job.config.generate
    contexts = Rows(job.run.at("contexts"))
    generate_samples(job.run, job.store, writers(job), contexts, config)

    samples: dict[str, Iterable[tuple[str, list[Generation]]]] = {}
    for name, teacher in writers(job).items():
        samples[name] = StoredSamples(samples_uri(job.store, teacher, config), contexts, teacher, config)

    return write_responses(
        job.run.at("examples"),
        job.run.at("contexts"),
        samples,
        _generated_uris(job),
        job.run.at("rejected", "responses"),
        job.config.filters,
    )


def _generated_uris(job: DistillationJob) -> dict[str, str]:
    return {name: job.run.at("responses", name) for name in writers(job)}


def _write_response_set(job: DistillationJob) -> Counts:
    """Human responses and generations that pass the filters: every text that the run can respond with."""
    config, at = job.config.response_set, job.run.at
    sources = ResponseSources(at("examples"), at("human_responses"), _generated_uris(job), config.max_human)
    outputs = at("response_set"), at("rejected", "response_set")
    return dict(write_response_set(sources, *outputs, config, job.config.filters))


def _neighbours_settings(job: DistillationJob) -> list[Any]:
    student, config = job.config.student, job.config.candidates
    return [config.retriever, student.max_tokens, student.context_turns, config.retrieved]


def _write_neighbours(job: DistillationJob) -> Counts:
    """The training responses nearest to each context that teachers see, by a frozen retriever."""
    student, config, at = job.config.student, job.config.candidates, job.run.at
    model, dense = resolve_model(config.retriever), student.model_copy(update={"kind": "dense"})
    retriever = EncoderSource.from_config(dense, model, at("vectors"))
    retrieval = Retrieval(retriever, student.context_turns, config.retrieved)
    uris = at("examples"), at("contexts"), at("neighbours")
    return embedding(lambda tally: write_neighbours(*uris, retrieval, tally))


def _write_candidates(job: DistillationJob) -> Counts:
    """Gold, generated, retrieved and random responses become each context's candidates."""
    return write_candidates(
        job.run.at("examples"),
        job.run.at("contexts"),
        _generated_uris(job),
        job.run.at("neighbours"),
        job.run.at("candidates"),
        job.config.candidates,
    )


def _score_settings(job: DistillationJob) -> list[Any]:
    return [{name: pairs_uri(job.store, teacher) for name, teacher in scorers(job).items()}]


def _score(job: DistillationJob) -> Counts:
    """Each teacher scores every candidate of the contexts that the teachers see."""
    candidates = job.run.at("candidates")
    score_pairs(job.run, job.store, scorers(job), candidates, job.config.score)

    counts = {}
    for name, teacher in scorers(job).items():
        counts[name] = write_scores(candidates, pairs_uri(job.store, teacher), job.run.at("scores", name))
    return counts


def _write_targets(job: DistillationJob) -> Counts:
    """The teachers' scores become one target distribution per context."""
    return write_targets(
        job.run.at("candidates"), scores_uris(job), job.run.at("targets"), job.config.targets
    )


def _write_index(job: DistillationJob) -> Counts:
    """The response set, embedded by the student, becomes the index that is served."""
    responses = pa.Table.from_batches(Rows(job.run.at("response_set")).batches(), records.RESPONSE_SET)

    config = job.config
    examples = config.examples
    sample = ContextSample(config.student.context_turns, examples.max_validation, examples.seed)
    validation = ValidationContexts(job.run.at("examples"), sample)
    ranker = list(_rankers(job).values())[-1]
    index = (responses, validation, ranker, job.run.uri, config.index)
    return embedding(lambda tally: write_confident_index(*index, tally))


def _evaluate(job: DistillationJob) -> Counts:
    """BM25, the untrained and the trained student, and the teachers, on held-out conversations."""
    config, student = job.config.evaluate, job.config.student
    sample = ContextSample(student.context_turns, config.contexts, config.seed)
    evaluation = embedding(
        lambda tally: evaluate_student(
            job.run.at("examples"), job.run.at("response_set"), _rankers(job), sample, tally
        )
    )
    teachers = calibrate(job.run.at("candidates"), scores_uris(job), job.config.targets, "test")

    held = hold_conversations(job.run.uri, driven_user_turns(job.config))
    write_conversations(job.run.at("report", "conversations.jsonl"), held)
    job.run.write_json(evaluation.reading, "report", "answers.json")
    conversations = measure_conversations(held)

    for rows in (evaluation.means, teachers, conversations):
        for name, metrics in rows.items():
            job.tracker.log({f"eval/{name}/{metric}": value for metric, value in metrics.items()})
    return {
        "systems": evaluation.means,
        "coverage": evaluation.coverage["student"],
        "teachers": teachers,
        "conversations": conversations,
        "responses": job.run.read_json("stages", "generate.json")["counts"],
        "response_set": job.run.read_json("stages", "response_set.json")["counts"],
        "scoring": job.run.read_json("stages", "score.json")["counts"],
    }


def _rankers(job: DistillationJob) -> dict[str, Ranker]:
    """Return the student before and after training, and re-ranked if it is; the last one is served.

    The run keeps their vectors.
    """
    config, store = job.config.student, job.run.at("vectors")
    untrained = EncoderSource.from_config(config, resolve_model(config.model), store)
    student = EncoderSource.from_config(config, job.run.at("student"), store)

    rankers: dict[str, Ranker] = {"untrained student": untrained, "student": student}
    served = served_ranker(job.config, student, untrained)
    return rankers if served == student else {**rankers, "student, re-ranked": served}


def served_ranker(config: DistillationConfig, student: EncoderSource, untrained: EncoderSource) -> Ranker:
    """Return what answers: the student, re-ranked where the config says so."""
    depth = config.index.rerank_depth
    return Reranked(student, untrained, depth) if depth and student.kind == "dense" else student


def driven_user_turns(config: DistillationConfig) -> UserTurns:
    """Return the user's turns that conversations with a student are driven by."""
    user_turns = {name: read_scripts(uri) for name, uri in config.evaluate.scripts.items()}
    user_turns["held-out users"] = held_out_user_turns(config.examples, config.evaluate.conversations)
    return {name: conversations for name, conversations in user_turns.items() if conversations}


def _report(job: DistillationJob, metrics: Counts) -> None:
    report_metrics(job.run, metrics)
    resolved = job.config.model_dump(mode="json")
    counts = job.run.read_json("stages", "candidates.json")["counts"]
    write_model_card(job.run.at("student"), card_of(resolved, counts, metrics, licences_of(resolved)))
    write_page(job, metrics)


def writers(job: Job[Any]) -> dict[str, Writer]:
    """Return the teachers that generate responses."""
    return {name: teacher for name, teacher in job.teachers.items() if writes(teacher)}


def scorers(job: Job[Any]) -> dict[str, TeacherConfig]:
    """Return the teachers that score candidates."""
    return {name: teacher for name, teacher in job.teachers.items() if scores(teacher)}


def scores_uris(job: Job[Any]) -> dict[str, str]:
    """Return where the scores of the run's candidates lie, by teacher."""
    return {name: job.run.at("scores", name) for name in scorers(job)}


EXAMPLES = Stage(
    "examples",
    (),
    lambda job: [
        job.config.examples.model_dump(),
        source_identity(job.config.examples.conversations),
        "human_responses",
    ],
    _write_examples,
)
CONTEXTS = Stage("contexts", ("examples",), lambda job: [job.config.generate.contexts], _write_contexts)
GENERATE = Stage("generate", ("contexts",), _generate_settings, _generate)
RESPONSE_SET = Stage(
    "response_set", ("generate",), lambda job: [job.config.response_set.model_dump()], _write_response_set
)
NEIGHBOURS = Stage("neighbours", ("contexts",), _neighbours_settings, _write_neighbours)
CANDIDATES = Stage(
    "candidates",
    ("neighbours", "generate"),
    lambda job: [job.config.candidates.model_dump(exclude={"retriever"})],
    _write_candidates,
)
SCORE = Stage("score", ("candidates",), _score_settings, _score)
TARGETS = Stage(
    "targets",
    ("score",),
    lambda job: [list(scorers(job)), job.config.targets.model_dump()],
    _write_targets,
    then=lambda job, counts: warn(counts),
)
INDEX = Stage(
    "index",
    ("train", "response_set"),
    lambda job: [job.config.index.model_dump(), "words", PRIOR_WORDS],
    _write_index,
)
EVALUATE = Stage(
    "evaluate",
    ("index", "targets"),
    lambda job: [job.config.evaluate.model_dump(), "conversations"],
    _evaluate,
    then=_report,
)

# Up to here teachers work; comparisons and sweeps branch off after it.
TEACHERS_WORK: tuple[Step[Any], ...] = (
    EXAMPLES,
    finetune,
    CONTEXTS,
    GENERATE,
    RESPONSE_SET,
    NEIGHBOURS,
    CANDIDATES,
    SCORE,
    TARGETS,
)
STAGES: tuple[Step[Any], ...] = (*TEACHERS_WORK, TRAIN, INDEX, EVALUATE)
