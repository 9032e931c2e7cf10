"""What training computes, a store keeps its rows under and an index answers is as it was recorded."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from jobs.execution.run_directory import RunDirectory
from jobs.stages.training import finetuned
from student.config import FinetuneConfig
from teachers.config import GenerateConfig, TeacherConfig
from teachers.corpora.training_sets import ExamplesWithDocuments
from teachers.dataset import read_rows, write_rows
from teachers.generation.config import RewritingConfig
from teachers.generation.finetuning import LearnedRows
from teachers.generation.rewriting import Requests, as_generation, read_prompt
from teachers.generation.sampling import plan_samples, sampling
from teachers.inference.store import content_key, pairs_uri, samples_uri
from teachers.inference.worker import stored_batch
from teachers.records import CANDIDATES, DOCUMENTS, EXAMPLES, QUESTIONS
from teachers.scoring.config import ScoreConfig
from teachers.scoring.pair_scores import plan_scores, scoring
from teachers.synthesis.config import SynthesisConfig
from tests.golden_values import assert_recorded, shown
from tests.serve.conftest import candidate, make_run, response_set
from tests.serve.test_responder import make_responder
from tests.student.student_rows import NUM_WORDS
from tests.student.training.test_loop import Training
from tests.teachers.synthesis.test_writer import PLAN, Teachers, line, written
from tests.tiny_models import make_sparse_student, make_student

Row = dict[str, Any]
# The end of a report's line: names that are recorded, and the ones that training reports.
MEASURES = {
    "loss": "loss",
    "cross-entropy": "cross_entropy",
    "KL": "kl",
    "margin-MSE": "margin_mse",
    "embedding-MSE": "embedding_mse",
    "rate": "learning_rate",
    "context-terms": "context_terms",
    "response-terms": "response_terms",
    "FLOPs": "flops",
    "validation-loss": "validation_loss",
    "validation-MRR": "validation_mrr",
}


def training_lines(name: str, training: Training) -> Iterator[str]:
    training.run()
    reports = training.reports.read()
    assert [report["step"] for report in reports] == list(range(1, training.settings["epochs"] * 4 + 1))
    yield f"{name} student"
    for report in reports:
        words = [f"step {report['step']}"]
        for recorded, reported in MEASURES.items():
            if reported in report:
                words.append(f"{recorded} {shown(float(report[reported]))}")
        yield "  ".join(words)


@pytest.mark.slow
def test_training_takes_the_recorded_steps(tmp_path: Path, ray_cluster: None) -> None:
    words = [f"w{i}" for i in range(NUM_WORDS)]
    # At a larger learning rate the last digits, in which CPUs differ, grow past the tolerance.
    settings: Row = {
        "num_workers": 1,
        "zero_stage": 0,
        "learning_rate": 1e-3,
        "report_every_steps": 1,
        "seed": 0,
    }
    dense = Training(tmp_path / "dense", make_student(tmp_path / "encoder", words), **settings)
    sparse = Training(
        tmp_path / "sparse",
        make_sparse_student(tmp_path / "sparse-encoder", words),
        kind="sparse",
        sparsity={"context_terms": 4},
        epochs=1,
        margin_mse_weight=0.05,
        random_negatives=8,
        **settings,
    )
    assert_recorded(
        "loss_curve.txt", [*training_lines("dense", dense), "", *training_lines("sparse", sparse)]
    )


CONVERSATIONS = [
    [{"role": "user", "content": "good night"}],
    [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi how are you"}],
    [
        {"role": "user", "content": "never cook here"},
        {"role": "assistant", "content": "fine"},
        {"role": "user", "content": "thanks you cook good fish"},
    ],
]


ANSWERS = [
    candidate("fine thanks", "gold"),
    candidate("good night", "gold"),
    candidate("how are you here", "generated", "gemma"),
    candidate("never cook fish", "generated", "llama"),
]


def test_fixed_indexes_give_the_recorded_responses(tmp_path: Path, ray_cluster: None) -> None:
    responses = response_set(*ANSWERS)
    lines: list[str] = []
    for kind in ("dense", "sparse"):
        responder = make_responder(make_run(tmp_path / kind, kind, responses))
        for conversation in CONVERSATIONS:
            lines.append(f"{kind}: {' / '.join(turn['content'] for turn in conversation)}")
            for response in responder.respond(conversation, 10).responses:
                source = response.source if response.teacher is None else f"by {response.teacher}"
                lines.append(f"  {shown(response.score)} {response.response_id} {source}: {response.text}")
    assert_recorded("responses.txt", lines)


CONTEXTS = [CONVERSATIONS[0], [*CONVERSATIONS[2][:2], {"role": "user", "content": "Größe? 🙂"}]]
QUESTION: Row = {
    "question_id": "q",
    "conversation_id": "c",
    "split": "test",
    "context": CONVERSATIONS[2],
    "rewrite": None,
    "gold_response": "At night.",
    "positives": ["d"],
    "ignored": [],
}


class Store:
    """The keys under which a store keeps what teachers make of fixed rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._examples, self._candidates = str(folder / "examples"), str(folder / "candidates")
        self._questions, self._documents = str(folder / "questions"), str(folder / "documents")
        names: Row = {"example_id": "e", "conversation_id": "c", "split": "train"}
        texts = [candidate("Yes.", "gold"), candidate("Größe 🙂", "generated", "vllm")]
        candidates: Row = {"example_id": "e", "split": "train", "candidates": texts, "for_teachers": True}
        examples = [{**names, "context": context, "gold_response": "Yes."} for context in CONTEXTS]
        write_rows(self._examples, examples, EXAMPLES)
        write_rows(self._candidates, [{**candidates, "context": context} for context in CONTEXTS], CANDIDATES)
        write_rows(self._questions, [QUESTION], QUESTIONS)
        write_rows(self._documents, [{"doc_id": "d", "text": "Owls hunt at night."}], DOCUMENTS)
        self._responses = ExamplesWithDocuments([], self._questions, self._documents, 0, "test")

        weights = folder / "Tiny Model"
        weights.mkdir()
        (weights / "config.json").write_text("{}")
        (weights / "model.safetensors").write_bytes(b"weights")
        model = str(weights)
        endpoint = {"kind": "endpoint", "base_url": "http://localhost:8000/v1", "model": "owner/Served"}
        settings: dict[str, Row] = {
            "vllm": {"model": model, "system_prompt": "Be brief.", "prompt_variants": ["Be bold."]},
            "float32": {"model": model, "dtype": "float32", "max_model_tokens": 512},
            "two-gpus": {"model": model, "num_gpus": 2},
            "not-cached": {"model": "nobody/no-such-model"},
            "fine-tuned": {"model": "s3://bucket/store/models/tiny-0123456789abcdef"},
            "smollm2": {"model": "smollm2-135m-instruct"},
            "gemma3": {"model": "gemma-3-270m"},
            "similarity": {"kind": "similarity", "model": model},
            "minilm": {"kind": "similarity", "model": "all-minilm-l6-v2", "max_tokens": 64},
            "endpoint": endpoint,
            "scoring-endpoint": {**endpoint, "tokenizer": model},
        }
        self._teachers: dict[str, Any] = {}
        for name, teacher in settings.items():
            self._teachers[name] = TypeAdapter(TeacherConfig).validate_python(teacher)

    def folders(self) -> Iterator[str]:
        """Of samples by what is sampled, of pairs, and of teachers that learned."""
        generations = {
            "responses": GenerateConfig(),
            "rewrites": as_generation(RewritingConfig()),
            "turns": SynthesisConfig().sampling(),
        }
        for name, teacher in self._teachers.items():
            yield f"{name} pairs: {pairs_uri('store', teacher)}"
            if teacher.kind != "similarity":
                for what, config in generations.items():
                    yield f"{name} {what}: {samples_uri('store', teacher, config)}"
        yield f"vllm fine-tuned on conversations: {self._fine_tuned(LearnedRows(self._examples))}"
        yield f"vllm fine-tuned on replies: {self._fine_tuned(self._responses)}"

    def _fine_tuned(self, rows: Any) -> str:
        """Where the stage looks for the teacher; it does nothing more than that here."""
        job: Any = SimpleNamespace(
            config=SimpleNamespace(finetune=FinetuneConfig()),
            store="store",
            run=RunDirectory(str(self._folder / "run")),
            tracker=None,
            once=lambda *arguments: {},
        )
        return finetuned(job, "vllm", self._teachers["vllm"], rows).model

    def rows(self) -> Iterator[str]:
        """Of samples, with their seeds, of pairs, and of the files that hold a batch of them."""
        nowhere, work = str(self._folder / "nowhere"), str(self._folder / "work")
        vllm, several = self._teachers["vllm"], GenerateConfig(samples=3)
        requests: dict[str, Any] = {
            "response": (read_rows(self._examples), vllm, several),
            "reply": (self._responses, vllm, several),
        }
        for file in sorted(Path("configs/rewriting").glob("*.yaml")):
            config = RewritingConfig(prompt=str(file))
            prompt = read_prompt(config)
            # As the stage does: the prompt's own instructions, for the teacher's are for a chat.
            writer = vllm.model_copy(update={"system_prompt": prompt.system_prompt})
            requests[f"{file.stem} rewrite"] = (
                Requests(self._questions, prompt),
                writer,
                as_generation(config),
            )
        for what, (contexts, teacher, config) in requests.items():
            plan_samples(contexts, teacher, config, nowhere, work)
            yield from self._work(what, read_rows(work))

        for name in ("vllm", "similarity"):
            plan_scores(self._candidates, self._teachers[name], nowhere, work, 8)
            yield from self._work(f"{name} score", read_rows(work))

        teachers = Teachers(line)
        written(teachers, [PLAN])
        for requested in teachers.rounds:
            for rows in requested.values():
                yield from self._work("turn", rows)

    def _work(self, what: str, rows: list[Row]) -> Iterator[str]:
        for row in rows:
            yield f"{what} {' '.join(row['keys'] if 'keys' in row else [row['key'], str(row['seed'])])}"

        # A worker looks for the file before it does a batch again.
        name = content_key([row["key"] for row in rows])
        pq.write_table(pa.table({"key": ["a row"]}), self._folder / f"{name}.parquet")
        assert stored_batch(str(self._folder), rows) == [{"key": "a row"}]
        yield f"{what} file {name}.parquet"


@pytest.mark.weights
def test_a_store_keeps_its_rows_under_the_recorded_keys(tmp_path: Path) -> None:
    store = Store(tmp_path)
    columns: list[str] = []
    for task in (sampling(GenerateConfig()), scoring(ScoreConfig())):
        columns += [f"{task.unit} column {field.name} {field.type}" for field in task.made]
    assert_recorded("store_keys.txt", [*columns, "", *store.folders(), "", *store.rows()])
