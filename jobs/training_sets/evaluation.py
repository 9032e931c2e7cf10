"""How well each training set's student finds people's replies and the documents that they are grounded in."""

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

_FIRST = "human"
"""The set that others are tested against, where there is one."""
_TASKS = {
    "responses": "Which of all human responses came next, but for those that stand in the context.",
    "documents": "Which document the reply is grounded in, of all there are.",
}


def evaluate(job: TrainingSetsJob, students: Mapping[str, TrainingSetsJob]) -> dict[str, Any]:
    """By task its numbers of `questions`, `conversations` and `documents`, and each system's `metrics` with
    95 % intervals over conversations, `sparsity`, and `against`, its MRR less that of others.
    """
    key = key_of(job.keys["questions"], {name: student.keys["train"] for name, student in students.items()})
    return job.once("evaluate", key, lambda: embedding(lambda tally: _evaluate(job, students, tally)))


def _evaluate(job: TrainingSetsJob, students: Mapping[str, TrainingSetsJob], tally: Tally) -> dict[str, Any]:
    config = job.config
    untrained = EncoderSource.from_config(config.student, resolve_model(config.student.model))
    encoders = {UNTRAINED: untrained}
    encoders |= {
        name: EncoderSource.from_config(config.student, of.run.at("student")) for name, of in students.items()
    }
    read = student_queries(job.run.at("questions"), "test", config.student.context_turns)
    rows = {task: list(Rows(job.run.at(task))) for task in _TASKS}
    texts: dict[Side, list[str]] = {
        "context": list(read.values()),
        "response": [row["text"] for of_task in rows.values() for row in of_task],
    }
    # Of both tasks and all encoders at once: actors take longer to start than these texts take.
    vectors = dict(
        zip(encoders, texts_to_vectors_of_each(texts, list(encoders.values()), tally), strict=True)
    )
    place = {question: number for number, question in enumerate(read)}

    def as_turn(text: str) -> str:
        return cut_at_word(" ".join(text.split()), config.questions.max_characters)

    result, start = {}, 0
    for task, of_task in rows.items():
        asked = held_out_questions(job.run.at("questions"), "test", {})
        if task == "responses":
            test = Rows(job.run.at("questions"), "test")
            asked = response_questions(asked, test, of_task, as_turn)
        doc_ids = [row["doc_id"] for row in of_task]
        queries = {question: read[question] for question in asked.qrels}
        found = {BM25: SearchResult(bm25_runs(job.run.at(task), asked, {"": queries})[""])}
        for name, of in vectors.items():
            own = of["context"][[place[question] for question in queries]]
            among = of["response"][start : start + len(doc_ids)]
            found[name] = search_by_vectors(own, doc_ids, among, asked, queries)
        start += len(doc_ids)
        baselines = {name: _compared_with(name, list(config.sets)) for name in found}
        measures = search_measures(asked, found, baselines)
        result[task] = {
            "questions": len(asked.qrels),
            "conversations": len({asked.conversation_ids[question] for question in asked.qrels}),
            "documents": len(doc_ids),
            "systems": {name: asdict(of_system) for name, of_system in measures.items()},
        }
    return result


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
    """What `evaluate` measured and, where a generator is trained, what `generators` did of its `answers`."""
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
