"""The stages of a job, in order. Each names its inputs and its output; the rooms do the work.

A stage's key hashes its section of the config and the keys of the stages before it. A stage whose
marker in `stages/` carries the same key is done and is not done again.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

from jobs.distillation.model_card import card_of, licences_of
from jobs.execution.job import Job
from jobs.execution.progress import Tally, progress
from jobs.execution.run_directory import RunDirectory, key_of
from jobs.execution.tracking import History, TrainingReports
from jobs.reports.terminal import report_metrics, report_training
from jobs.stages.teacher_inference import generate_samples, score_pairs
from serve.index import write_index
from serve.response_set import response_set
from student.config import RESOURCES
from student.encoders.encoder import EncoderSource
from student.encoders.packaged import resolve_model
from student.evaluation.response_ranking import ContextSample, evaluate_student
from student.export.model_card import write_model_card
from student.retrieval.document_vectors import DocumentVectors
from student.retrieval.neighbours import write_neighbours
from student.training.language_model import train_language_model
from student.training.loop import train_student
from teachers.config import TeacherConfig, VllmTeacher, Writer, scores, writes
from teachers.corpora.examples import write_examples
from teachers.dataset import Rows, write_rows
from teachers.engines.weights import model_folder
from teachers.generation.filters import read_blocklist
from teachers.generation.finetuning import LearnedRows, learned_key, write_sequences
from teachers.generation.responses import write_responses
from teachers.generation.sampling import StoredSamples
from teachers.inference.store import model_uri, pairs_uri, samples_uri
from teachers.records import EXAMPLES, RESPONSE_SET
from teachers.scoring.calibration import calibrate
from teachers.scoring.candidates import write_candidates
from teachers.scoring.pair_scores import write_scores
from teachers.scoring.targets import write_targets
from teachers.storage import file_exists

_Result = TypeVar("_Result")
_COMPLETE = "finetuned.json"  # written last into a fine-tuned teacher's folder


def examples(job: Job) -> None:
    """Conversations become (context, reply) examples, split by conversation."""
    config = job.config.examples
    job.once(
        "examples",
        key_of(config.model_dump()),
        lambda: write_examples(job.run.at("examples"), job.run.at("rejected", "examples"), config),
    )


def finetune(job: Job) -> None:
    """Each generative teacher learns the training conversations, if `finetune.epochs` says so (G2R §4.1)."""
    if not job.config.finetune.epochs:
        return
    examples = LearnedRows(job.run.at("examples"))
    for name, teacher in job.teachers.items():
        if isinstance(teacher, VllmTeacher):
            job.teachers[name] = finetuned(job, name, teacher, examples)


def finetuned(job: Job, name: str, teacher: VllmTeacher, examples: Iterable[dict[str, Any]]) -> VllmTeacher:
    """The teacher with the weights that it has learned, from the store if another run made them.

    `examples` are rows of EXAMPLES of the splits `train` and `validation`, and iterated more than once.
    """
    config = job.config.finetune
    learned = [learned_key(examples), teacher.system_prompt, config.model_dump(exclude=set(RESOURCES))]
    uri = model_uri(job.store, teacher, *learned)
    key = uri.rsplit("/", 1)[-1]
    reports = TrainingReports(job.run, ("finetune", key, "history.jsonl"), job.tracker)

    def work() -> dict[str, Any]:
        if file_exists(f"{uri}/{_COMPLETE}"):
            return {"from the store": 1}
        sequences = job.run.at("finetune", key, "sequences")
        counts = write_sequences(examples, sequences, name, teacher, config.max_tokens)
        with progress(
            f"{name} learns",
            reports.total_steps,
            "steps",
            reports.steps_done,
            reports.validations,
            reports.losses,
        ):
            found = counts | train_language_model(
                sequences,
                model_folder(teacher.model),
                uri,
                job.run.at("finetune"),
                key,
                config,
                [History(reports.uri)],
            )
        RunDirectory(uri).write_json(found, _COMPLETE)
        return found

    job.once(f"finetune-{name}", key, work)
    return teacher.model_copy(update={"model": uri})


def generate(job: Job) -> None:
    """Each teacher writes responses to the training contexts that the teachers see; the filters sift them."""
    config, filters = job.config.generate, job.config.filters
    examples, contexts = job.run.at("examples"), job.run.at("contexts")
    writers: dict[str, Writer] = {name: teacher for name, teacher in job.teachers.items() if writes(teacher)}
    folders = {name: samples_uri(job.store, teacher, config) for name, teacher in writers.items()}

    def draw() -> dict[str, Any]:
        return {"contexts": write_rows(contexts, islice(Rows(examples, "train"), config.contexts), EXAMPLES)}

    def work() -> dict[str, Any]:
        drawn = Rows(contexts)
        generate_samples(job.run, job.store, writers, drawn, config)
        return write_responses(
            examples,
            contexts,
            {name: StoredSamples(folders[name], drawn, teacher, config) for name, teacher in writers.items()},
            {name: job.run.at("responses", name) for name in writers},
            job.run.at("rejected", "responses"),
            filters,
        )

    job.once("contexts", key_of(job.keys["examples"], config.contexts), draw)
    wanted = {
        name: [folders[name], teacher.system_prompt, teacher.prompt_variants]
        for name, teacher in writers.items()
    }
    sifting = [filters.model_dump(), read_blocklist(filters.blocklist) if filters.blocklist else None]
    job.once("generate", key_of(job.keys["contexts"], wanted, config.samples, sifting), work)


def neighbours(job: Job) -> None:
    """The training replies nearest to each training context, by a retriever that stays as it is."""
    student, config = job.config.student, job.config.candidates
    retriever = EncoderSource(resolve_model(config.retriever), "dense", student.max_tokens, student.precision)
    job.once(
        "neighbours",
        key_of(
            job.keys["examples"],
            config.retriever,
            student.max_tokens,
            student.context_turns,
            config.retrieved,
        ),
        lambda: embedding(
            lambda tally: write_neighbours(
                job.run.at("examples"),
                job.run.at("neighbours"),
                retriever,
                student.context_turns,
                config.retrieved,
                tally,
            )
        ),
    )


def candidates(job: Job) -> None:
    """Gold, generated, retrieved and random replies become each context's candidates."""
    config = job.config.candidates
    writers = [name for name, teacher in job.teachers.items() if writes(teacher)]
    job.once(
        "candidates",
        key_of(job.keys["neighbours"], job.keys["generate"], config.model_dump(exclude={"retriever"})),
        lambda: write_candidates(
            job.run.at("examples"),
            job.run.at("contexts"),
            {name: job.run.at("responses", name) for name in writers},
            job.run.at("neighbours"),
            job.run.at("candidates"),
            config,
        ),
    )


def score(job: Job) -> None:
    """Each teacher scores every candidate of the contexts that the teachers see."""
    source, config = job.run.at("candidates"), job.config.score
    teachers = scorers(job)
    folders = {name: pairs_uri(job.store, teacher) for name, teacher in teachers.items()}

    def work() -> dict[str, Any]:
        score_pairs(job.run, job.store, teachers, source, config)
        return {
            name: write_scores(source, folder, job.run.at("scores", name)) for name, folder in folders.items()
        }

    job.once("score", key_of(job.keys["candidates"], folders), work)


def targets(job: Job) -> None:
    """The teachers' scores become one target distribution per context."""
    config = job.config.targets
    counts = job.once(
        "targets",
        key_of(job.keys["score"], list(scorers(job)), config.model_dump()),
        lambda: write_targets(job.run.at("candidates"), scores_uris(job), job.run.at("targets"), config),
    )
    if "warning" in counts:
        print(f"warning: {counts['warning']}", flush=True)


def train(job: Job, known: DocumentVectors | None = None) -> dict[str, Any]:
    """The student learns from the targets; what the best one reached. For `known` see `train_student`."""
    config = job.config.student
    key, reports = training_reports(job)

    def work() -> dict[str, Any]:
        job.run.make_folder("train", key)
        with progress(
            "student trains",
            reports.total_steps,
            "steps",
            reports.steps_done,
            reports.validations,
            reports.losses,
        ):
            return train_student(
                job.run.at("targets"),
                job.run.at("examples"),
                job.run.at("student"),
                job.run.at("train"),
                key,
                config,
                [History(reports.uri), *job.training_callbacks],
                known,
            )

    counts = job.once("train", key, work)
    report_training(job.run, reports.lines())
    if "warning" in counts:
        print(f"warning: {counts['warning']}", flush=True)
    return counts


def training_reports(job: Job) -> tuple[str, TrainingReports]:
    """The key of the student's training, which goes on with other resources, and its reports."""
    key = key_of(job.keys["targets"], job.config.student.model_dump(exclude=set(RESOURCES)))
    return key, TrainingReports(job.run, ("train", key, "history.jsonl"), job.tracker)


def index(job: Job) -> None:
    """The response set, embedded by the student, becomes the index that is served."""
    config, turns = job.config.index, job.config.student.context_turns

    def work() -> dict[str, Any]:
        responses = response_set(job.run.at("targets"))
        write_rows(job.run.at("response_set"), responses.to_pylist(), RESPONSE_SET)
        student = _student(job, job.run.at("student"))
        return embedding(lambda tally: write_index(responses, student, job.run.uri, config, turns, tally))

    job.once("index", key_of(job.keys["train"], config.model_dump()), work)


def evaluate(job: Job) -> None:
    """BM25, the untrained and the trained student, and the teachers, on held-out conversations."""
    config, student = job.config.evaluate, job.config.student

    def work() -> dict[str, Any]:
        systems = embedding(
            lambda tally: evaluate_student(
                job.run.at("examples"),
                job.run.at("response_set"),
                {
                    "untrained student": _student(job, resolve_model(student.model)),
                    "student": _student(job, job.run.at("student")),
                },
                ContextSample(student.context_turns, config.contexts, config.seed),
                tally,
            )
        )
        found = calibrate(job.run.at("candidates"), scores_uris(job), job.config.targets, "test")
        metrics = {"systems": systems, "teachers": found}
        job.tracker.log(
            {
                f"eval/{system}/{name}": value
                for values_of in metrics.values()
                for system, values in values_of.items()
                for name, value in values.items()
            }
        )
        return {
            **metrics,
            "responses": job.run.read_json("stages", "generate.json")["counts"],
            "scoring": job.run.read_json("stages", "score.json")["counts"],
        }

    metrics = job.once("evaluate", key_of(job.keys["index"], job.keys["targets"], config.model_dump()), work)
    report_metrics(job.run, metrics)
    resolved = job.config.model_dump(mode="json")
    counts = job.run.read_json("stages", "candidates.json")["counts"]
    write_model_card(job.run.at("student"), card_of(resolved, counts, metrics, licences_of(resolved)))


def scorers(job: Job) -> dict[str, TeacherConfig]:
    """The teachers that score."""
    return {name: teacher for name, teacher in job.teachers.items() if scores(teacher)}


def scores_uris(job: Job) -> dict[str, str]:
    """Where the scores of the run's candidates lie, by teacher."""
    return {name: job.run.at("scores", name) for name in scorers(job)}


def _student(job: Job, model: str) -> EncoderSource:
    """The trained or untrained student at `model`."""
    student = job.config.student
    return EncoderSource(model, student.kind, student.max_tokens, student.precision)


def embedding(work: Callable[[Tally], _Result]) -> _Result:
    """The result of a work that embeds texts, with progress over them."""
    tally = Tally()
    with progress("texts embedded", tally.total, "texts", tally.done):
        return work(tally)
