"""The stages of a synthesis, in order (CoDi): documents to conversations, checked and measured."""

from typing import Any

from jobs.execution.job import Counts, Job, Stage
from jobs.execution.progress import Progress
from jobs.stages.documents import DOCUMENTS
from jobs.synthesis.config import SynthesisJobConfig
from jobs.synthesis.coverage import coverage_of, report_coverage
from teachers.config import GenerateConfig, Writer, writes
from teachers.dataset import Rows
from teachers.engines.weights import weights_identity
from teachers.generation.filters import read_blocklist
from teachers.generation.sampling import sampling
from teachers.inference.notes import sanity_line
from teachers.inference.resident_teachers import ResidentTeachers, start_replicas
from teachers.inference.store import samples_uri
from teachers.inference.tasks import TeacherWork
from teachers.inference.work_files import work_files, write_work
from teachers.records import PLANS
from teachers.synthesis.conversation_graph import Graph
from teachers.synthesis.dataset_card import dataset_card
from teachers.synthesis.dataset_files import write_dataset_files
from teachers.synthesis.plans import write_plans
from teachers.synthesis.writer import Writing, sort_conversations, synthesise, turns_settled

SynthesisJob = Job[SynthesisJobConfig]

# So many conversations are one writer's: where one ends another begins, and its last ones wait for no others.
_BATCHES_OF_A_FILE = 8


def stages_along(graph: Graph) -> tuple[Stage[Any], ...]:
    """Return the stages of a synthesis along a graph."""
    plans: Stage[SynthesisJobConfig] = Stage(
        "plans",
        ("documents",),
        lambda job: [graph.model_dump(), *_plans_settings(job)],
        lambda job: write_plans(
            job.run.at("documents"), graph, list(job.teachers), job.config.synthesis, job.run.at("plans")
        ),
    )
    conversations: Stage[SynthesisJobConfig] = Stage(
        "conversations", ("plans",), _conversations_settings, lambda job: _write_conversations(job, graph)
    )
    coverage: Stage[SynthesisJobConfig] = Stage(
        "coverage",
        ("conversations",),
        lambda job: [],
        lambda job: coverage_of(job.run, graph),
        then=report_coverage,
    )
    return (DOCUMENTS, plans, conversations, _DATASET, coverage)


def _plans_settings(job: SynthesisJob) -> list[Any]:
    unplanned = {"graph", "shares", "attempts", "rewinds", "batch_size"}
    return [job.config.synthesis.model_dump(exclude=unplanned), list(job.teachers)]


def _conversations_settings(job: SynthesisJob) -> list[Any]:
    config = job.config
    blocklist, entailment_model = config.filters.blocklist, config.checks.entailment_model
    checks = [
        config.checks.model_dump(),
        weights_identity(entailment_model) if entailment_model else None,
        config.filters.model_dump(),
        read_blocklist(blocklist) if blocklist else None,
    ]
    return [_store_uris(job), checks, [config.synthesis.attempts, config.synthesis.rewinds]]


def _write_conversations(job: SynthesisJob, graph: Graph) -> Counts:
    """Teachers write the planned conversations; those that fail their checks to the end are rejected."""
    config, size = job.config, job.config.synthesis.batch_size
    plans = job.run.at("work", "plans")
    write_work(plans, Rows(job.run.at("plans")), PLANS, _BATCHES_OF_A_FILE * size)
    job.run.delete("notes", "turns")

    task, num_writers = sampling(_generation(job)), len(work_files(plans))
    residents, notes = {}, []
    for name, teacher in _writers(job).items():
        notes.append(job.run.make_folder("notes", f"{name}-synthesis"))
        work = TeacherWork(name, teacher, task, size, _store_uris(job)[name], notes[-1])
        residents[name] = start_replicas(work, num_writers)

    rows = synthesise(
        plans,
        Writing(graph, config.synthesis, config.filters, config.checks),
        ResidentTeachers(residents),
        job.run.make_folder("notes", "turns"),
    )
    with _progress(job, notes):
        kept, rejected = job.run.at("conversations"), job.run.at("rejected", "conversations")
        counts: Counts = sort_conversations(rows, kept, rejected)
    job.run.delete("work", "plans")
    return counts


def _generation(job: SynthesisJob) -> GenerateConfig:
    return job.config.synthesis.sampling()


def _writers(job: SynthesisJob) -> dict[str, Writer]:
    return {name: teacher for name, teacher in job.teachers.items() if writes(teacher)}


def _store_uris(job: SynthesisJob) -> dict[str, str]:
    generation = _generation(job)
    return {name: samples_uri(job.store, teacher, generation) for name, teacher in _writers(job).items()}


def _progress(job: SynthesisJob, notes_uris: list[str]) -> Progress:
    """Progress over turns, and the line of each teacher's check before its first."""
    num_turns = job.run.read_json("stages", "plans.json")["counts"]["turns"]
    turns, unchecked = job.run.at("notes", "turns"), list(notes_uris)

    def next_check() -> str | None:
        for uri in unchecked:
            if (line := sanity_line(uri)) is not None:
                unchecked.remove(uri)
                return line
        return None

    return Progress("teachers write", lambda: num_turns, "turns", lambda: turns_settled(turns), next_check)


def _write_dataset(job: SynthesisJob) -> Counts:
    """The conversations as files that `datasets` loads and both other jobs read, with a card."""
    folder, config = job.run.make_folder("dataset"), job.config
    conversations, documents = job.run.at("conversations"), job.run.at("documents")
    counts = write_dataset_files(conversations, documents, folder, config.synthesis.passage_words)
    card = dataset_card(counts, config.documents.corpus, config.model_dump(mode="json")["teachers"])
    job.run.write_text(card, "dataset", "README.md")
    return counts


_DATASET = Stage("dataset", ("conversations",), lambda job: [], _write_dataset)
