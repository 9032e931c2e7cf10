"""Students of human-written and of synthesised conversations, on one test, with a tiny encoder."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.config import ConfigError
from jobs.training_sets.config import parse_training_sets
from serve.chat_endpoint import grounded_in
from serve.index import load_index
from serve.versions import current_version, folder_of
from student.encoders.encoder import student_hash
from student.evaluation.answers import exact_match, token_f1
from teachers.config import VllmTeacher
from teachers.corpora.training_sets import ExamplesWithDocuments, TrainingSetPart, write_training_set
from teachers.dataset import read_rows, write_rows
from teachers.generation.finetuning import write_sequences
from teachers.records import DOCUMENTS, QUESTIONS
from tests.jobs.running import run_job
from tests.tiny_models import make_student, make_teacher

SUBJECTS = ("owls", "bats", "foxes", "moles", "hares", "frogs", "swans", "crows", "toads", "deer")
HABITS = ("eat", "sleep", "hide", "nest")


def question(kind: str, subject: str, habit: str) -> dict[str, Any]:
    """A row of a file of questions: the second turn of a conversation about a subject."""
    return {
        "id": f"{kind}-{subject}-{habit}",
        "conversation_id": f"{kind}-{subject}",
        "messages": [{"role": "user", "content": f"where do {subject} {habit} at night"}],
        "response": f"{kind} say that {subject} {habit} in the woods",
        "positives": [f"{subject}-{habit}"],
    }


@pytest.fixture(scope="module")
def training_sets_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training-sets")
    pairs = [(subject, habit) for subject in SUBJECTS for habit in HABITS]
    documents = [
        {"doc_id": f"{subject}-{habit}", "text": f"of {subject} and how they {habit}"}
        for subject, habit in pairs
    ]
    files = {
        "documents": documents,
        "people": [question("people", *pair) for pair in pairs],
        "synthesised": [question("models", *pair) for pair in pairs],
    }
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [row["text"] for row in documents] + [row["response"] for row in files["people"]]
    content = {
        "documents": {"corpus": str(folder / "documents.jsonl")},
        "questions": {
            "conversations": str(folder / "people.jsonl"),
            "test_share": 0.4,
            "validation_share": 0.2,
        },
        "synthesised": str(folder / "synthesised.jsonl"),
        "sets": {"human": {"human": 1}, "both": {"human": 1, "synthesised": 0.5}},
        "student": {
            "model": str(make_student(folder / "student", sorted({*" ".join(texts).split()}))),
            "global_batch_size": 4,
            "num_workers": 1,
            "max_tokens": 16,
        },
        "generator": {
            "model": str(make_teacher(folder / "generator", chat=True, seed=1)),
            "contexts": 6,
            "max_tokens": 12,
            "max_sane_loss": 50,
        },
        "finetune": {"max_tokens": 128},
        "tracking": {"project": None},
    }
    (folder / "training-sets.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "training-sets.yaml"


@pytest.mark.slow
def test_each_set_has_a_student_and_all_have_one_test(training_sets_config: Path) -> None:
    run = training_sets_config.parent / "run"
    printed = run_job("compare_training_sets", training_sets_config, "--run", str(run))
    questions = read_rows(str(run / "questions"))
    test = [row for row in questions if row["split"] == "test"]
    report = json.loads((run / "report/comparison.json").read_text())
    responses, documents, answers = report["tables"]
    assert (responses["contexts"], documents["contexts"]) == (len(test), len(test)) and len(test) > 5
    assert (responses["responses"], documents["responses"]) == (40, 40)
    for table in (responses, documents):
        assert [row["system"] for row in table["rows"]] == ["BM25", "untrained", "human", "both"]
        assert [other["system"] for other in table["rows"][-1]["against"]] == ["untrained", "human"]
    # All words of the right document are in the question, and in no other.
    assert documents["rows"][0]["metrics"]["mrr"]["mean"] > 0.9
    assert [row["system"] for row in answers["rows"]] == ["generator, zero-shot"]
    assert answers["contexts"] == 6 and set(answers["rows"][0]["metrics"]) == {"token F1", "exact match"}
    human = len([row for row in questions if row["split"] == "train"])
    assert f"human {human} human-written and 0 synthesised" in report["notes"][0]
    assert f"both {human} human-written and {round(human / 2)} synthesised" in report["notes"][0]
    learned = read_rows(str(run / "sets/both/targets"))
    held_out = {row["conversation_id"] for row in questions if row["split"] != "train"}
    assert len(learned) == human + round(human / 2)
    assert not held_out & {row["example_id"].rsplit("-", 1)[0] for row in learned}
    assert "responses" in printed and (run / "report/index.html").is_file()
    # The first set's student searches the documents.
    version = Path(folder_of(str(run), current_version(str(run))))
    served = load_index(version)
    assert set(served.responses["response_id"].to_pylist()) == {f"{a}-{b}" for a in SUBJECTS for b in HABITS}
    assert served.metadata["student_hash"] == student_hash(str(run / "sets/human/student"))


def written(folder: Path, split: str = "train") -> tuple[str, str, set[str]]:
    """Questions and documents; and the ids of those questions that have a response and a document."""
    rows = [
        {
            "question_id": f"q{number}",
            "conversation_id": f"c{number}",
            "split": split,
            "context": [{"role": "user", "content": f"question {number}"}],
            "rewrite": None,
            "gold_response": f"response {number}" if number != 3 else None,
            "positives": ["d"] if number != 4 else [],
            "ignored": [],
        }
        for number in range(20)
    ]
    questions, documents = str(folder / f"{split} questions"), str(folder / "documents")
    write_rows(questions, rows, QUESTIONS)
    write_rows(documents, [{"doc_id": "d", "text": "the document"}], DOCUMENTS)
    return questions, documents, {row["question_id"] for row in rows} - {"q3", "q4"}


def test_a_larger_draw_has_the_smaller_one_in_it(tmp_path: Path) -> None:
    questions, documents, with_document = written(tmp_path)

    def drawn(size: int) -> set[str]:
        targets = str(tmp_path / f"targets-{size}")
        counts = write_training_set([TrainingSetPart(questions, size)], documents, targets, seed=0)
        rows = read_rows(targets)
        assert counts["train questions"] == len(rows) == min(size, 18)
        for row in rows:
            response = row["context"][0]["content"].replace("question", "response")
            assert [candidate["text"] for candidate in row["candidates"]] == [response, "the document"]
            assert {candidate["source"] for candidate in row["candidates"]} == {"gold"}
            assert row["target_probs"] is None
        return {row["example_id"] for row in rows}

    assert drawn(5) < drawn(10) < drawn(100) == with_document


def test_a_generator_reads_the_document_and_learns_the_response(tmp_path: Path) -> None:
    learned, documents, _ = written(tmp_path)
    held_out, _, _ = written(tmp_path, "validation")
    rows = ExamplesWithDocuments([TrainingSetPart(learned, 5)], held_out, documents, seed=0)
    assert Counter(row["split"] for row in rows) == {"train": 5, "validation": 18}
    first = next(iter(rows))
    question = first["gold_response"].replace("response", "question")
    shown = first["context"][-1]["content"]
    # The responder shows it the best document in the same way.
    assert shown == f"Text: the document\n\n{question}" == grounded_in("the document", question)
    teacher = VllmTeacher(model=str(make_teacher(tmp_path / "teacher", chat=True, seed=0)))
    counts = write_sequences(rows, str(tmp_path / "sequences"), "generator", teacher, 256)
    assert counts["sequences"] == len(read_rows(str(tmp_path / "sequences"))) == 23
    test, _, _ = written(tmp_path, "test")
    assert len(list(ExamplesWithDocuments([], test, documents, 0, "test"))) == 18


@pytest.mark.parametrize(
    ("answer", "f1", "exact"),
    [
        ("The owls eat voles.", 1, 1),
        ("owls eat voles", 1, 1),
        ("voles eat owls", 1, 0),
        ("Owls eat mice, and voles", 0.75, 0),
        ("bats", 0, 0),
        ("", 0, 0),
    ],
)
def test_answers_are_measured_as_squads(answer: str, f1: float, exact: float) -> None:
    assert token_f1(answer, "Owls eat voles") == pytest.approx(f1)
    assert exact_match(answer, "Owls eat voles") == exact
    assert token_f1(answer, "") == (not answer)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (["--generate.contexts", "3"], "--generate.contexts: unknown key"),
        (["--sets", '{"none": {}}'], "sets.none: expected `human` or `synthesised` above 0"),
        (["--sets", '{"bm25": {"human": 1}}'], "sets.bm25: is the name of a baseline"),
        (["--sets", '{"a/b": {"human": 1}}'], "sets.a/b: expected letters, digits and '-'"),
        (["--synthesised", "[]"], "synthesised: expected a file, since sets.both"),
        (["--student.cross_entropy_weight", "0"], "student.cross_entropy_weight: expected more than 0"),
        (["--generator.sets", '["human"]'], "finetune.epochs: expected 1 or more"),
        (["--generator.sets", '["nobody"]'], "generator.sets: unknown set 'nobody'; expected one of"),
    ],
)
def test_a_wrong_config_is_one_line(training_sets_config: Path, change: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_training_sets(["--config", str(training_sets_config), *change])
    assert line in str(error.value) and "\n" not in str(error.value)
