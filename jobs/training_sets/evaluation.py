"""Evaluation of each training set's student: does it find human responses and their documents?"""

from collections.abc import Mapping
from typing import Any

from jobs.conversational_search.report import curves, measured_table
from jobs.execution.progress import embedding
from jobs.execution.run_directory import key_of, provenance
from jobs.reports.comparison import STATISTICS, Comparison, HeldOutTable
from jobs.training_sets.config import BM25, UNTRAINED
from jobs.training_sets.stages import TrainingSetsJob
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.evaluation.answers import MAIN_MEASURE
from student.evaluation.search.document_search import held_out_questions, response_questions, student_queries
from student.evaluation.search.systems import SearchTask, measure_tasks
from teachers.dataset import Rows
from teachers.words import cut_at_word

_FIRST = "human"
"""The set that others are tested against, where there is one."""
_TASKS = {
    "responses": "Which of all human responses came next, but for those in the context.",
    "documents": "Which of all documents the response rests on.",
}


def evaluate(job: TrainingSetsJob, students: Mapping[str, TrainingSetsJob]) -> dict[str, Any]:
    """Return for each task its `search_counts`."""
    key = key_of(job.keys["questions"], {name: student.keys["train"] for name, student in students.items()})
    return job.once("evaluate", key, lambda: _evaluate(job, students))


def _evaluate(job: TrainingSetsJob, students: Mapping[str, TrainingSetsJob]) -> dict[str, Any]:
    config = job.config.student
    encoders = {UNTRAINED: EncoderSource.from_config(config, resolve_model(config.model))}
    for name, student in students.items():
        encoders[name] = EncoderSource.from_config(config, student.run.at("student"))

    baselines = {name: _compared_with(name, list(job.config.sets)) for name in (BM25, *encoders)}
    queries = student_queries(job.run.at("questions"), "test", config.context_turns)
    return embedding(lambda tally: measure_tasks(_tasks(job), queries, encoders, baselines, tally))


def _tasks(job: TrainingSetsJob) -> dict[str, SearchTask]:
    uri, max_characters = job.run.at("questions"), job.config.questions.max_characters
    responses_uri = job.run.at("responses")
    questions = held_out_questions(uri, "test", {})

    def as_turn(text: str) -> str:
        return cut_at_word(" ".join(text.split()), max_characters)

    of_responses = response_questions(questions, Rows(uri, "test"), Rows(responses_uri), as_turn)
    return {
        "responses": SearchTask(of_responses, responses_uri),
        "documents": SearchTask(questions, job.run.at("documents")),
    }


def _compared_with(name: str, sets: list[str]) -> list[str]:
    if name not in sets:
        return []
    return [UNTRAINED, _FIRST] if _FIRST in sets and name != _FIRST else [UNTRAINED]


def training_sets_comparison(
    job: TrainingSetsJob,
    students: Mapping[str, TrainingSetsJob],
    measured: Mapping[str, Any],
    answers: Mapping[str, Any] | None,
) -> Comparison:
    """Return the comparison of the systems that `evaluate` and `measure_generators` measured."""
    sizes = []
    for name, student in students.items():
        counts = student.run.read_json("stages", "targets.json")["counts"]
        written, synthesised = counts.get("questions", 0), counts.get("synthesised", 0)
        sizes.append(f"{name} {written} human-written and {synthesised} synthesised")

    tables = []
    for task, explanation in _TASKS.items():
        kinds = dict.fromkeys(measured[task]["systems"], "baseline")
        kinds |= {name: student.config.student.kind for name, student in students.items()}
        tables.append(measured_table(task, explanation, measured[task], kinds))
    if answers is not None:
        tables.append(_generators_table(answers))

    note = (
        f"Training questions: {'; '.join(sizes)}. Each is learned with its response and its document, in one "
        "training of each set. Every student is the checkpoint with the best MRR on the human-written "
        f"validation questions. {STATISTICS}"
    )
    return Comparison(
        title=f"Training sets: {job.run.uri.rsplit('/', 1)[-1]}",
        **provenance(),
        seeds=[job.config.student.seed],
        notes=[note],
        tables=tables,
        learning_curves=curves(students),
    )


def _generators_table(answers: Mapping[str, Any]) -> HeldOutTable:
    systems = {f"generator, {name}": measures for name, measures in answers["systems"].items()}
    return measured_table(
        "generated responses",
        "A small language model writes the response, with the document before it: as it is, and after it "
        "learned a training set. Its words are compared with those of the gold response.",
        {**answers, "systems": systems, "documents": answers["questions"]},
        dict.fromkeys(systems, "baseline"),
        MAIN_MEASURE,
    )
