"""The whole job with tiny real teachers on a handful of real conversations, then served and asked."""

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from serve.ingress import free_port
from teachers.dataset import read_rows
from teachers.texts import text_key
from tests.jobs.running import run_job
from tests.ray_head import wait

RANKED = ("untrained student", "student", "student, re-ranked")
pytestmark = [pytest.mark.slow, pytest.mark.weights]  # the conversations come with the extra `local`


def test_every_stage_wrote_its_dataset(run: Path) -> None:
    metrics = json.loads((run / "report" / "metrics.json").read_text())
    assert set(metrics["systems"]) == {"bm25", *RANKED}
    assert set(metrics["teachers"]) == {
        "chat",
        "retriever",
        "ensemble",
        "ensemble without chat",
        "ensemble without retriever",
        "kendall_tau",
    }
    for values in metrics["systems"].values():
        assert 0 <= values["hits@1/20"] <= 1
        assert values["recall@1"] <= values["recall@10"] <= values["recall@100"]
    assert metrics["conversations"]["held-out users"]["verbatim_repeats"] == 0
    conversations = (run / "report" / "conversations.jsonl").read_text().splitlines()
    assert len(conversations) == metrics["conversations"]["held-out users"]["conversations"]
    answers = json.loads((run / "report" / "answers.json").read_text())
    assert all(row["answers"].keys() == set(RANKED) for row in answers)
    assert 'id="conversations"' in (run / "report" / "index.html").read_text()
    assert [row["reason"] for row in read_rows(str(run / "rejected" / "examples"))][
        1
    ] == "unknown role 'robot'"
    SentenceTransformer(str(run / "student")).encode("hello")


def test_teachers_agree_on_their_work(run: Path) -> None:
    targets = read_rows(str(run / "targets"))
    with_targets = [row for row in targets if row["target_probs"] is not None]
    assert len([row for row in with_targets if row["split"] == "train"]) == 12
    num_copies = 0
    for row in with_targets:
        scored = [prob for prob in row["target_probs"] if prob is not None]
        assert len(row["target_probs"]) == len(row["candidates"])
        assert sum(scored) == pytest.approx(1, abs=1e-5)
        num_copies += len(row["candidates"]) - len(scored)
    stage = json.loads((run / "stages" / "targets.json").read_text())
    assert num_copies == stage["counts"]["copies left out"]
    rejected = read_rows(str(run / "rejected" / "responses"))
    counts = json.loads((run / "report" / "metrics.json").read_text())["responses"]
    rows = read_rows(str(run / "responses" / "chat"))
    assert len({row["example_id"] for row in rows}) == len(rows) == 12
    kept = sum(len(row["responses"]) for row in rows)
    assert counts["chat"]["kept"] + counts["chat"].get("kept shortened", 0) == kept
    assert kept + len(rejected) == sum(counts["chat"].values()) == 12 * 2


def test_the_response_set_is_drawn_from_all_training_conversations(run: Path) -> None:
    examples = read_rows(str(run / "examples"))
    served = read_rows(str(run / "response_set"))
    human = read_rows(str(run / "human_responses"))
    drawn = [row for row in examples if row["split"] == "train"]
    assert len(human) > len(drawn) == 60

    counts = json.loads((run / "report" / "metrics.json").read_text())["response_set"]
    assert sum(counts["human"].values()) == len(human)
    assert sum(by_outcome["kept"] for by_outcome in counts.values()) == len(served)
    rejected = read_rows(str(run / "rejected" / "response_set"))
    assert len(served) + len(rejected) == sum(sum(by_outcome.values()) for by_outcome in counts.values())

    keys = [text_key(row["text"]) for row in served]
    held_out = {text_key(row["gold_response"]) for row in examples if row["split"] != "train"}
    assert len(set(keys)) == len(keys) and not held_out & set(keys)


def test_teachers_learn_the_conversations_before_they_are_asked(run: Path) -> None:
    stage = json.loads((run / "stages" / "finetune-chat.json").read_text())
    counts = stage["counts"]
    # Some turns of 200 characters are more tokens than the tiny model has places.
    assert 30 < counts["sequences"] <= 60 and counts["steps"] == counts["sequences"] // 16
    assert counts["validation_loss"] > 0
    fitted = run.parent / "store" / "models" / stage["key"]
    assert (fitted / "finetuned.json").is_file() and (fitted / "model.safetensors").is_file()
    # What it wrote and scored is kept under the fitted weights' name.
    assert list((run.parent / "store" / "pairs").glob(f"{stage['key']}-*"))


def _ask(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def test_the_run_answers_over_http(run: Path) -> None:
    _assert_answers("jobs/deploy.py", "--run", str(run), "--port")


def test_a_second_run_does_nothing_again_and_answers(run: Path, config: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    output = _assert_answers("jobs/distill.py", "--config", str(config), "--run", str(run), "--deploy")
    assert "evaluate: done before" in output and "…" not in output
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")} == before


def test_another_temperature_runs_no_teacher(run: Path, config: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")  # others read the run with its own targets
    options = ["--run", str(copy), "--store", str(run.parent / "store")]
    output = run_job("distill", config, *options, "--targets.temperature", "2", "--until", "targets")
    started = [line.split()[0] for line in output.splitlines() if line.endswith("…")]
    assert started == ["targets"]


def _assert_answers(*command: str) -> str:
    """Have a job serve at the port that ends its command, and ask it; return what it printed."""
    port = free_port()
    server = subprocess.Popen([sys.executable, *command, str(port)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        health = wait(lambda: server.poll() is not None or _health(port))
        assert health is not True, "it ended"
        assert health["status"] == "ok"
        # The turn may be out of scope: a tiny student is not sure of anything.
        request = {"messages": [{"role": "user", "content": "how are you?"}], "k": 3, "min_score": -1}
        answer = _ask(port, "/respond", request)
        assert len(answer["responses"]) == 3
        assert {"id", "text", "score", "source"} <= set(answer["responses"][0])
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(60)
        finally:
            server.kill()
    return server.stdout.read()


def _health(port: int) -> dict[str, Any] | None:
    """What /health says; None while nothing answers there."""
    try:
        return _ask(port, "/health")
    except OSError:
        return None
