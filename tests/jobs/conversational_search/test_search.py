"""The search job on real turns with tiny models: from documents and questions to a student's index."""

import hashlib
import json
from pathlib import Path
from typing import Any

import ir_measures
import pytest
import yaml

from jobs.config import ConfigError
from jobs.conversational_search.config import parse_search
from teachers.dataset import read_rows
from tests.jobs.running import run_job

pytestmark = [pytest.mark.slow, pytest.mark.weights, pytest.mark.timeout(1500)]
TEACHERS = ["chat", "human"]


@pytest.fixture(scope="module")
def search_config(config: Path) -> Path:
    """Questions are third turns, of which the fourth is the document that answers; the first stands in for a
    person's rewrite."""
    folder = config.parent / "search"
    folder.mkdir()
    lines = (config.parent / "conversations.jsonl").read_text().splitlines()
    talks = [row["messages"] for row in (json.loads(line) for line in lines[1:]) if len(row["messages"]) > 3]
    documents = [{"doc_id": f"d{number}", "text": talk[3]["content"]} for number, talk in enumerate(talks)]
    questions = [
        {
            "id": f"q{number}",
            "messages": [
                {"role": ("user", "assistant")[turn % 2], "content": message["content"]}
                for turn, message in enumerate(talk[:3])
            ],
            "positives": [f"d{number}"],
            "ignore": [f"d{number + 1}"],
            "query_rewrite": talk[0]["content"],
        }
        for number, talk in enumerate(talks)
    ]
    for name, rows in (("documents", documents), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = yaml.safe_load(config.read_text())
    content = {
        "teachers": {"chat": settings["teachers"]["chat"]},
        "documents": {"corpus": str(folder / "documents.jsonl")},
        "questions": {
            "conversations": str(folder / "questions.jsonl"),
            "test_share": 0.3,
            "validation_share": 0,
        },
        "rewriting": {"max_tokens": 8},
        "pools": {"depth": 20, "negatives": 4, "first_rank": 2, "last_rank": 20},
        "student": {
            **settings["student"],
            "kind": "sparse",
            "model": str(config.with_name("sparse-encoder")),
            "encoders": "frozen_responses",
            "num_workers": 1,
            "context_turns": 3,
            "checkpoint_every_steps": 100,
            "sparsity": {"context_terms": 25},
        },
        "students": {
            "embeddings": {
                "student.embedding_mse_weight": 1,
                "student.kl_weight": 0,
                "student.cross_entropy_weight": 0,
            },
        },
    }
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))  # the order is the table's
    return file


@pytest.fixture(scope="module")
def searched(search_config: Path) -> tuple[Path, str]:
    """The run directory, and what the job printed."""
    location = search_config.parent / "run"
    return location, run_job("search", search_config, "--run", str(location))


def postings(run: Path) -> list[str]:
    """Hashes of the documents' side of every version of the index."""
    folders = [file.parent for file in sorted(run.glob("index/*/index.json"))]
    return [
        hashlib.sha256(
            b"".join(
                file.read_bytes()
                for file in sorted(folder.iterdir())
                if file.is_file() and file.name != "index.json"
            )
        ).hexdigest()
        for folder in folders
    ]


def test_every_search_system_is_measured_and_its_run_is_a_trec_file(searched: tuple[Path, str]) -> None:
    run, printed = searched
    [table] = json.loads((run / "report/comparison.json").read_text())["tables"]
    systems: dict[str, Any] = {row["system"]: row for row in table["rows"]}
    ways = ["last turn", "conversation", "human rewrite", "chat's rewrite"]
    expected = [f"{how}, {way}" for how in ("BM25", "retriever") for way in ways]
    students = ["student", "embeddings"]
    assert list(systems) == [*expected, "retriever, all rewrites", "student before training", *students]
    assert all(f"│ {student}" in printed for student in students)
    assert [other["system"] for other in systems["embeddings"]["against"]] == [
        "student before training",
        "student",
    ]
    page = (run / "report/index.html").read_text()
    assert all(system.replace("'", "&#39;") in page for system in systems)
    qrels = list(ir_measures.read_trec_qrels(str(run / "runs/qrels.txt")))
    assert len(qrels) == table["contexts"] > 5
    for system, file in (("student", "student"), ("BM25, last turn", "BM25--last-turn")):
        search_run = ir_measures.read_trec_run(str(run / f"runs/{file}.trec"))
        [mrr] = ir_measures.calc_aggregate([ir_measures.RR], qrels, search_run).values()
        assert systems[system]["metrics"]["mrr"]["mean"] == pytest.approx(mrr, abs=1e-3)
    ignored = {row["question_id"]: set(row["ignored"]) for row in read_rows(str(run / "questions"))}
    for line in ir_measures.read_trec_run(str(run / "runs/student.trec")):
        assert line.doc_id not in ignored[line.query_id]


def test_teachers_rewrote_every_question_and_scored_every_candidate(searched: tuple[Path, str]) -> None:
    run, _ = searched
    questions = read_rows(str(run / "questions"))
    assert [row["question_id"] for row in read_rows(str(run / "rewrites/chat"))] == [
        row["question_id"] for row in questions
    ]
    rows = read_rows(str(run / "targets"))
    assert {row["example_id"] for row in rows} == {
        row["question_id"] for row in questions if row["split"] == "train"
    }
    for row in rows:
        assert row["candidates"][0]["source"] == "gold" and 1 < len(row["candidates"]) <= 5
        assert sum(row["target_probs"]) == pytest.approx(1, abs=1e-5)
    by_human = {row["question_id"]: row["query"] for row in read_rows(str(run / "rewrites/human"))}
    for row in read_rows(str(run / "students/embeddings/targets")):
        assert [candidate["teacher"] for candidate in row["candidates"]] == TEACHERS
        assert row["candidates"][1]["text"] == by_human[row["example_id"]]
        assert row["target_probs"] == [0.5, 0.5]
    for teacher in TEACHERS:
        for row in read_rows(str(run / "scores" / teacher)):
            assert all(score is not None for score in row["similarity"])


def test_training_again_asks_no_teacher_and_leaves_the_index_of_the_documents_as_it_is(
    searched: tuple[Path, str], search_config: Path
) -> None:
    run, _ = searched
    [before] = postings(run)
    student = (run / "student/modules.json").stat().st_mtime_ns
    changes = ["--student.learning_rate", "1e-2", "--students", "{}"]
    output = run_job("search", search_config, "--run", str(run), *changes)
    assert " to do" not in output and "vectors: done before" in output
    assert (run / "student/modules.json").stat().st_mtime_ns > student
    assert postings(run) == [before, before]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (["--evaluate.contexts", "3"], "--evaluate.contexts: unknown key"),
        (["--student.encoders", "shared"], "student.encoders: expected frozen_responses"),
        (
            ["--teachers", '{"minilm": {"kind": "similarity", "model": "all-minilm-l6-v2"}}'],
            "teachers.minilm.kind: expected a teacher that writes",
        ),
        (
            ["--students", '{"a": {"pools.depth": 3}}'],
            "students.a: pools.depth: is the same for all students",
        ),
        (["--students", '{"a": {"student.nope": 3}}'], "students.a: student.nope"),
        (
            ["--students", '{"a": {"targets.weights": {"nobody": 0}}}'],
            "students.a: targets.weights.nobody names",
        ),
        (["--pools.last_rank", "1"], "last_rank: expected at least first_rank = 2, got 1"),
    ],
)
def test_a_wrong_search_is_one_line(search_config: Path, change: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_search(["--config", str(search_config), *change])
    assert line in str(error.value) and "\n" not in str(error.value)
