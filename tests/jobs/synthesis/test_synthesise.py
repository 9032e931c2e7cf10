"""The synthesis job, killed in mid-conversation and begun again, and its data set in the other jobs."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import psutil
import pytest
import yaml

from jobs.config import ConfigError
from jobs.distillation.config import parse
from jobs.synthesis.config import parse_synthesis
from teachers.corpora.config import DocumentsConfig, ExamplesConfig, QuestionsConfig
from teachers.corpora.documents import write_documents
from teachers.corpora.examples import write_examples
from teachers.corpora.questions import write_questions
from teachers.dataset import read_rows
from tests.jobs.running import run_job, stored_rows

pytestmark = pytest.mark.slow
NUM_CONVERSATIONS, BATCH = 40, 20
KILLED_AFTER = 70  # requests: the first batch is in its fourth round then


class Writer(ThreadingHTTPServer):
    """An OpenAI-compatible server whose model answers with some sentence of the text that it is shown, and
    asks about one's first words. After `patience` requests it is silent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.num_requests = 0
        self.patience = sys.maxsize
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: Writer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.num_requests += 1
            is_silent = self.server.num_requests > self.server.patience
        while is_silent and self.server.patience != sys.maxsize:
            time.sleep(0.1)
        message = {"content": _reply(request["messages"][-1]["content"], request.get("seed", 0))}
        body = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}).encode()
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            """Whoever asked was killed."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _reply(request: str, seed: int) -> str:
    text = re.search(r"Text: (.*)", request)
    sentences = text[1].rstrip(".").split(". ") if text else ["Hello to you"]
    sentence = sentences[seed // 7 % len(sentences)]
    if "answer" in request and seed % 5:
        return f"{sentence}."
    if "answer" in request:
        return "Penguins swim across the wide Atlantic."  # not grounded
    if "It refers back" in request:
        return f"What about them, number {seed}?"
    return f"Why {' '.join(sentence.split()[:2])}, {seed}?"


GRAPH: dict[str, Any] = {
    "max_turns": 6,
    "start": {"question": 0.7, "hello": 0.3},
    "axes": {
        "mood": {"calm": {"share": 0.75, "text": "Calmly."}, "angry": {"share": 0.25, "text": "Angrily."}}
    },
    "phenomena": {"co-reference": "It refers back."},
    "vertices": {
        "question": {
            "speaker": "user",
            "prompt": "Text: {evidence}\nAsk. {mood} {phenomenon}",
            "phenomena": {"co-reference": 0.4},
            "next": {"answer": 1},
        },
        "hello": {"speaker": "user", "prompt": "Greet. {mood}", "next": {"answer": 1}},
        "answer": {
            "speaker": "assistant",
            "grounded": True,
            "prompt": "Text: {evidence}\n{conversation}\nWrite an answer.",
            "next": {"question": 0.7, "end": 0.3},
        },
    },
}


@pytest.fixture(scope="module")
def server() -> Iterator[Writer]:
    with Writer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def synthesis_config(tmp_path_factory: pytest.TempPathFactory, server: Writer) -> Path:
    folder = tmp_path_factory.mktemp("synthesis")
    (folder / "graph.yaml").write_text(yaml.safe_dump(GRAPH, sort_keys=False))
    content = {
        "documents": {"corpus": "python-topics"},
        "teachers": {
            "writer": {
                "kind": "endpoint",
                "base_url": f"http://127.0.0.1:{server.server_port}/v1",
                "model": "writer",
                "num_cpus": 1,
                "batch_timeout_s": 120,
            }
        },
        "synthesis": {
            "graph": str(folder / "graph.yaml"),
            "conversations": NUM_CONVERSATIONS,
            "batch_size": BATCH,
        },
        # What Python's help says again and again, and these made-up questions, would fail them.
        "filters": {"min_words": 2, "max_words": 200},
        "checks": {"copied": 1, "leaked_words": 50},
        "tracking": {"project": None},
    }
    (folder / "synthesise.yaml").write_text(yaml.safe_dump(content))
    return folder / "synthesise.yaml"


@pytest.fixture(scope="module")
def synthesised(synthesis_config: Path, server: Writer) -> tuple[Path, str, list[str]]:
    """The run directory, what the job printed, and the keys that were stored when it was first killed."""
    run, store = synthesis_config.parent / "run", synthesis_config.parent / "store"
    server.patience = KILLED_AFTER
    command = [sys.executable, "jobs/synthesise.py", "--config", str(synthesis_config), "--run", str(run)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while server.num_requests <= KILLED_AFTER:
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        assert not (run / "stages" / "conversations.json").exists()
    finally:
        processes = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        first.send_signal(signal.SIGKILL)
        for process in psutil.wait_procs(processes, timeout=20)[1]:
            process.kill()  # two of Ray's own outlive a driver that was killed
    before = stored_rows(str(store))
    server.patience, server.num_requests = sys.maxsize, 0
    printed = run_job("synthesise", synthesis_config, "--run", str(run))
    return run, printed, before


def test_what_was_written_before_the_kill_is_not_asked_for_again(
    synthesised: tuple[Path, str, list[str]], server: Writer
) -> None:
    run, printed, before = synthesised
    assert len(before) >= 2 * BATCH  # whole rounds of the first batch, and it was not finished
    after = stored_rows(str(run.parent / "store"))
    assert len(after) == len(set(after)) and set(before) < set(after)
    assert (
        server.num_requests == len(after) - len(before) + 1
    )  # and the sample by which the teacher shows itself
    rows = read_rows(str(run / "conversations")) + read_rows(str(run / "rejected" / "conversations"))
    assert len(rows) == len({row["conversation_id"] for row in rows}) == NUM_CONVERSATIONS
    assert "turns" in printed


def test_kept_conversations_go_by_their_plans_and_are_grounded(
    synthesised: tuple[Path, str, list[str]],
) -> None:
    run, _, _ = synthesised
    plans = {row["conversation_id"]: row for row in read_rows(str(run / "plans"))}
    kept = read_rows(str(run / "conversations"))
    for row in kept:
        plan = plans[row["conversation_id"]]
        assert [turn["vertex"] for turn in row["turns"]] == [turn["vertex"] for turn in plan["turns"]]
        assert [message["role"] for message in row["messages"]] == [turn["speaker"] for turn in plan["turns"]]
        for message, turn in zip(row["messages"], row["turns"], strict=True):
            if message["role"] == "assistant":
                passage = row["passages"][turn["passage"]]
                assert passage[turn["start"] : turn["end"]] == turn["evidence"]
                assert "Penguins" not in message["content"]
    assert any(len(row["messages"]) > 2 for row in kept)
    rows = kept + read_rows(str(run / "rejected" / "conversations"))
    assert "answer: not grounded" in [failure for row in rows for failure in row["failures"]]


def test_coverage_has_the_expected_and_the_obtained_shares(synthesised: tuple[Path, str, list[str]]) -> None:
    run, _, _ = synthesised
    coverage = json.loads((run / "report/coverage.json").read_text())
    assert set(coverage["axes"]) == {"mood", "kind of turn", "phenomenon"}
    kept = read_rows(str(run / "conversations"))
    angry = sum(dict(row["axes"])["mood"] == "angry" for row in kept) / len(kept)
    assert coverage["axes"]["mood"]["obtained"] == pytest.approx({"calm": 1 - angry, "angry": angry})
    assert coverage["axes"]["mood"]["distance"] == pytest.approx(abs(angry - 0.25))
    for values in coverage["axes"].values():
        for part in ("expected", "planned", "obtained"):
            assert sum(values[part].values()) == pytest.approx(1)
    assert (
        0 < coverage["diversity"]["user"]["distinct_2"] <= 1
        and 0 <= coverage["diversity"]["user"]["self_bleu"] <= 1
    )
    page = (run / "report/index.html").read_text()
    assert all(name in page for name in (*GRAPH["vertices"], "angry", "not grounded", "self-BLEU"))


def test_datasets_loads_it_and_the_other_jobs_read_it(
    synthesised: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    run, _, _ = synthesised
    folder = run / "dataset"
    kept = read_rows(str(run / "conversations"))
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(str(folder), "conversations", split="train", cache_dir=cache)
    assert [row["id"] for row in loaded] == [row["conversation_id"] for row in kept]
    assert loaded[0]["messages"] == kept[0]["messages"]
    questions = datasets.load_dataset(str(folder), "questions", split="train", cache_dir=cache)
    num_with_evidence = sum(turn["evidence"] is not None for row in kept for turn in row["turns"])
    assert len(questions) == num_with_evidence
    assert all(row["response"] for row in questions)

    for file in ("conversations.jsonl", "conversations.parquet"):
        out = [str(tmp_path / file / name) for name in ("examples", "human_responses", "rejected")]
        config = ExamplesConfig(conversations=str(folder / file), test_share=0.4)
        counts = write_examples(*out, config)
        assert not read_rows(out[2]) and counts["conversations"] == len(kept)
    assert parse(["--examples.conversations", str(folder / "conversations.jsonl")])

    documents = str(tmp_path / "documents")
    corpus = DocumentsConfig(corpus=str(folder / "corpus.jsonl"))
    write_documents(documents, str(tmp_path / "no documents"), corpus)
    config_of_questions = QuestionsConfig(conversations=str(folder / "questions.jsonl"))
    counts = write_questions(
        documents, str(tmp_path / "questions"), str(tmp_path / "no questions"), config_of_questions
    )
    assert (
        counts["questions"] == num_with_evidence == counts["positives that are no document"]
    )  # whole documents


def test_the_same_command_again_asks_nothing(
    synthesised: tuple[Path, str, list[str]], synthesis_config: Path, server: Writer
) -> None:
    run, _, _ = synthesised
    server.num_requests = 0
    output = run_job("synthesise", synthesis_config, "--run", str(run))
    assert server.num_requests == 0 and "conversations: done before" in output


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (["--student.epochs", "3"], "--student.epochs: unknown key"),
        (
            ["--synthesis.writers", '{"user": {"nobody": 1}}'],
            "synthesis.writers.user.nobody names no teacher",
        ),
        (["--synthesis.writers", '{"user": {"writer": 0}}'], "synthesis.writers.user: all weights are 0"),
        (
            ["--teachers", '{"minilm": {"kind": "similarity", "model": "all-minilm-l6-v2"}}'],
            "teachers.minilm.kind: expected a teacher that writes",
        ),
    ],
)
def test_a_wrong_synthesis_is_one_line(synthesis_config: Path, change: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_synthesis(["--config", str(synthesis_config), *change])
    assert line in str(error.value) and "\n" not in str(error.value)
