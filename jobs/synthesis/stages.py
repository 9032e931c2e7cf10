"""The stages of a synthesis, in order (CoDi): documents to conversations, checked and measured."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from jobs.execution.job import Job
from jobs.execution.progress import progress
from jobs.execution.run_directory import key_of, provenance
from jobs.synthesis.config import SynthesisJobConfig
from jobs.synthesis.coverage import coverage_of, print_coverage
from jobs.synthesis.dataset_export import write_dataset
from jobs.synthesis.page import coverage_page
from teachers.config import Writer, writes
from teachers.dataset import Rows, rows_to
from teachers.engines.weights import weights_identity
from teachers.generation.filters import read_blocklist
from teachers.generation.sampling import sampling
from teachers.inference.resident_teachers import StandingTeachers, stand
from teachers.inference.store import Row, samples_uri
from teachers.inference.work_files import work_files, write_work
from teachers.inference.worker import sanity_line
from teachers.records import PLANS, SYNTHESISED
from teachers.synthesis.conversation_graph import Graph
from teachers.synthesis.plans import write_plans
from teachers.synthesis.writer import Writing, synthesise, turns_settled

# So many conversations are one writer's: where one ends another begins, and its last ones wait for no others.
_BATCHES_OF_A_FILE = 8


def plans(job: Job, config: SynthesisJobConfig, graph: Graph) -> None:
    """For each conversation a path through the graph, passages of a document, and who speaks."""
    settings = config.synthesis.model_dump(exclude={"graph", "shares", "attempts", "rewinds", "batch_size"})
    names = list(job.teachers)
    job.once(
        "plans",
        key_of(job.keys["documents"], graph.model_dump(), settings, names),
        lambda: write_plans(job.run.at("documents"), graph, names, config.synthesis, job.run.at("plans")),
    )


def conversations(job: Job, config: SynthesisJobConfig, graph: Graph) -> None:
    """Teachers write what is planned; what fails its checks to the end is set aside."""
    generation = config.synthesis.sampling()
    writers: dict[str, Writer] = {name: teacher for name, teacher in job.teachers.items() if writes(teacher)}
    stores = {name: samples_uri(job.store, teacher, generation) for name, teacher in writers.items()}
    notes = {name: job.run.make_folder("notes", f"{name}-synthesis") for name in writers}

    def work() -> dict[str, Any]:
        task, size = sampling(generation), config.synthesis.batch_size
        write_work(job.run.at("work", "plans"), Rows(job.run.at("plans")), PLANS, _BATCHES_OF_A_FILE * size)
        job.run.delete("notes", "turns")
        num_writers = len(work_files(job.run.at("work", "plans")))
        standing = {
            name: stand(name, teacher, task, size, num_writers, stores[name], notes[name])
            for name, teacher in writers.items()
        }
        rows = synthesise(
            job.run.at("work", "plans"),
            Writing(graph, config.synthesis, config.filters, config.checks),
            StandingTeachers(standing),
            job.run.make_folder("notes", "turns"),
        )
        with _told(job, list(notes.values())):
            counts = _sorted_out(job, rows)
        job.run.delete("work", "plans")
        return counts

    blocklist, entailment_model = config.filters.blocklist, config.checks.entailment_model
    settings = [
        config.checks.model_dump(),
        weights_identity(entailment_model) if entailment_model else None,
        config.filters.model_dump(),
        read_blocklist(blocklist) if blocklist else None,
    ]
    retries = [config.synthesis.attempts, config.synthesis.rewinds]
    job.once("conversations", key_of(job.keys["plans"], stores, settings, retries), work)


def _sorted_out(job: Job, rows: Iterator[Row]) -> dict[str, Any]:
    """Writes `rows` of SYNTHESISED to where they belong; how many, and why turns were written anew.

    Raises:
        ValueError: all are set aside.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with (
        rows_to(job.run.at("conversations"), SYNTHESISED) as kept,
        rows_to(job.run.at("rejected", "conversations"), SYNTHESISED) as rejected,
    ):
        for row in rows:
            counts["kept" if row["set_aside"] is None else "set aside"] += 1
            reasons.update(failure.split(": ", 1)[1] for failure in row["failures"])
            (kept if row["set_aside"] is None else rejected).write(row)
    anew = dict(reasons.most_common())
    if not counts["kept"]:
        raise ValueError(f"synthesis: no conversation passed its checks: {anew}")
    return {**counts, "turns written anew": anew}


def _told(job: Job, notes_uris: list[str]) -> AbstractContextManager[None]:
    """Progress over turns, and what each teacher showed before its first."""
    planned = job.run.read_json("stages", "plans.json")["counts"]["turns"]
    turns, left = job.run.at("notes", "turns"), list(notes_uris)

    def news() -> str | None:
        for uri in left:
            if (line := sanity_line(uri)) is not None:
                left.remove(uri)
                return line
        return None

    return progress("teachers write", lambda: planned, "turns", lambda: turns_settled(turns), news)


def dataset(job: Job, config: SynthesisJobConfig) -> None:
    """The conversations as files that `datasets` loads and both other jobs read, with a card."""
    job.once(
        "dataset",
        key_of(job.keys["conversations"]),
        lambda: write_dataset(job.run, config),
    )


def coverage(job: Job, graph: Graph) -> None:
    """What was wanted beside what was obtained, and how varied it is: `report/`."""
    found = job.once(
        "coverage",
        key_of(job.keys["conversations"]),
        lambda: coverage_of(job.run, graph),
    )
    counts = job.run.read_json("stages", "conversations.json")["counts"]
    job.run.write_json({**found, "conversations": counts, **provenance()}, "report", "coverage.json")
    job.run.write_text(coverage_page(found, counts, job.run), "report", "index.html")
    job.tracker.log(
        {f"coverage/{axis}/distance": values["distance"] for axis, values in found["axes"].items()}
    )
    print_coverage(found)
    print(f"report: {job.run.at('report', 'index.html')}")
