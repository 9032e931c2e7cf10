"""The whole job with conversations in seven scripts, and its responder."""

import json
from pathlib import Path

import pytest
import yaml

from serve.changes import Changes
from serve.encoders import load_encoders
from serve.index import load_index
from serve.responder import Responder
from serve.versions import check_version, local_version
from student.evaluation.bm25 import RESPONSE_BM25, bm25_scores
from teachers.dataset import read_rows
from teachers.texts import text_key
from teachers.words import words
from tests.jobs.running import run_job
from tests.multilingual import PAIRS, conversations
from tests.tiny_models import make_student

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a job whose only teacher is a retriever."""
    folder = tmp_path_factory.mktemp("languages")
    rows = list(conversations())
    lines = [json.dumps(row, ensure_ascii=bool(number % 2)) for number, row in enumerate(rows)]
    (folder / "conversations.jsonl").write_text("\n".join(lines), encoding="utf-8")
    vocabulary: set[str] = set()
    for pairs in PAIRS.values():
        for pair in pairs:
            vocabulary.update(words(" ".join(pair).lower()))

    student = make_student(folder / "encoder", sorted(vocabulary))
    settings = {
        "examples": {
            "conversations": str(folder / "conversations.jsonl"),
            "min_response_words": 1,
            "test_share": 0.3,
            "validation_share": 0.2,
        },
        "teachers": {
            "retriever": {"kind": "similarity", "model": str(student), "num_cpus": 1, "max_tokens": 64}
        },
        "student": {
            "model": str(student),
            "num_workers": 1,
            "global_batch_size": 8,
            "checkpoint_every_steps": 4,
            "precision": "fp32",
        },
    }
    (folder / "languages.yaml").write_text(yaml.safe_dump(settings))
    run_job("distill", folder / "languages.yaml", "--run", str(folder / "run"))
    return folder / "run"


def test_no_conversation_of_any_script_is_lost_or_cut(run: Path) -> None:
    rejected = [row["reason"] for row in read_rows(str(run / "rejected" / "examples"))]
    assert rejected == []

    written = {response for pairs in PAIRS.values() for _, response in pairs}
    examples = read_rows(str(run / "examples"))
    assert {row["gold_response"] for row in examples} <= written | {
        turn for pairs in PAIRS.values() for turn, _ in pairs
    }
    for language, pairs in PAIRS.items():
        responses = {response for _, response in pairs}
        assert responses & {row["gold_response"] for row in examples}, language


def test_every_script_is_served_as_it_was_written(run: Path) -> None:
    served = {row["text"] for row in read_rows(str(run / "response_set"))}
    for language, pairs in PAIRS.items():
        turns = {text for pair in pairs for text in pair}
        assert len(served & turns) >= 4, language
    assert served <= {text for pairs in PAIRS.values() for pair in pairs for text in pair}


def test_a_turn_of_any_script_is_answered_with_what_was_not_said(run: Path) -> None:
    index = load_index(local_version(str(run), check_version(str(run))))
    responder = Responder(index, load_encoders(str(run), index, "torch", 1), Changes())
    for pairs in PAIRS.values():
        messages: list[dict[str, str]] = []
        for turn, _ in pairs[:4]:
            messages.append({"role": "user", "content": turn})
            [answer] = responder.respond(messages, 1).responses
            assert text_key(answer.text) not in {text_key(message["content"]) for message in messages}
            messages.append({"role": "assistant", "content": answer.text})


@pytest.mark.parametrize("language", PAIRS)
def test_bm25_finds_a_response_by_its_words_in_any_script(language: str) -> None:
    responses = [response for pairs in PAIRS.values() for _, response in pairs]
    queries = [response for _, response in PAIRS[language]]
    scores = bm25_scores(responses, queries, RESPONSE_BM25)
    assert [responses[row.argmax()] for row in scores] == queries
