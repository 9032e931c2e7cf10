"""Evaluation of each training set's student: does it find human responses and their documents?"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from jobs.conversational_search.report import curves, measured_table
from jobs.execution.progress import embedding
from jobs.execution.run_directory import key_of, provenance
from jobs.reports.comparison import Comparison, HeldOutTable
from jobs.training_sets.config import BM25, UNTRAINED
from jobs.training_sets.generator import MAIN_MEASURE
from jobs.training_sets.stages import TrainingSetsJob
from student.encoders.encoder import EncoderSource, Side, Tally, texts_to_vectors_of_each
from student.encoders.packaged import resolve_model
from student.evaluation.document_search import (
    Questions,
    SearchResult,
    bm25_runs,
    held_out_questions,
    response_questions,
    search_by_vectors,
    student_queries,
)
from student.evaluation.search_measures import search_measures
from teachers.corpora.conversations import cut_at_word
from teachers.dataset import Rows
from teachers.inference.store import Row

_FIRST = "human"
"""The set that others are tested against, where there is one."""
_TASKS = {
    "responses": "Which of all human responses came next, but for those in the context.",
    "documents": "Which of all documents the response rests on.",
}


def evaluate(job: TrainingSetsJob, students: Mapping[str, TrainingSetsJob]) -> dict[str, Any]:
    """Return for each task its numbers of `questions`, `conversations` and `documents`, and its `systems`.

    A system has `metrics` with 95 % intervals over conversations, `sparsity`, and `against`, its MRR less
    that of others.
    """
    key = key_of(job.keys["questions"], {name: student.keys["train"] for name, student in students.items()})
    return job.once("evaluate", key, lambda: embedding(lambda tally: _evaluate(job, students, tally)))


def _evaluate(job: TrainingSetsJob, students: Mapping[str, TrainingSetsJob], tally: Tally) -> dict[str, Any]:
    config = job.config.student
    encoders = {UNTRAINED: EncoderSource.from_config(config, resolve_model(config.model))}
    for name, student in students.items():
        encoders[name] = EncoderSource.from_config(config, student.run.at("student"))

    queries = student_queries(job.run.at("questions"), "test", config.context_turns)
    rows_by_task = {task: list(Rows(job.run.at(task))) for task in _TASKS}
    texts: dict[Side, list[str]] = {"context": list(queries.values()), "response": []}
    for rows in rows_by_task.values():
        texts["response"] += [row["text"] for row in rows]
    # Of both tasks and all encoders at once: actors take longer to start than these texts take.
    vectors = texts_to_vectors_of_each(texts, list(encoders.values()), tally)
    rows_of_queries = {question_id: row for row, question_id in enumerate(queries)}

    counts, start = {}, 0
    for task, rows in rows_by_task.items():
        questions = _questions(job, task, rows)
        doc_ids = [row["doc_id"] for row in rows]
        task_queries = {question_id: queries[question_id] for question_id in questions.qrels}
        query_rows = [rows_of_queries[question_id] for question_id in task_queries]

        results = {BM25: SearchResult(bm25_runs(job.run.at(task), questions, {"": task_queries})[""])}
        for name, by_side in zip(encoders, vectors, strict=True):
            documents = by_side["response"][start : start + len(rows)]
            results[name] = search_by_vectors(
                by_side["context"][query_rows], doc_ids, documents, questions, task_queries
            )
        start += len(rows)
        counts[task] = _counts(questions, results, list(job.config.sets), len(rows))
    return counts


def _questions(job: TrainingSetsJob, task: str, rows: list[Row]) -> Questions:
    """Return the test questions of a task; `rows` are the responses or documents to find."""
    uri, max_characters = job.run.at("questions"), job.config.questions.max_characters
    questions = held_out_questions(uri, "test", {})
    if task != "responses":
        return questions

    def as_turn(text: str) -> str:
        return cut_at_word(" ".join(text.split()), max_characters)

    return response_questions(questions, Rows(uri, "test"), rows, as_turn)


def _counts(
    questions: Questions, results: Mapping[str, SearchResult], sets: list[str], num_documents: int
) -> dict[str, Any]:
    baselines = {name: _compared_with(name, sets) for name in results}
    measures = search_measures(questions, results, baselines)
    return {
        "questions": len(questions.qrels),
        "conversations": len({questions.conversation_ids[question_id] for question_id in questions.qrels}),
        "documents": num_documents,
        "systems": {name: asdict(system_measures) for name, system_measures in measures.items()},
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
        "validation questions. Intervals are 95 %, by a bootstrap over conversations; p-values by a paired "
        "randomisation test over conversations, not corrected for their number."
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
