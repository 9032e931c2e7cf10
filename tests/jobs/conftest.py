"""The tiny job shared by the tests of `jobs`: real conversations, tiny models with random weights."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, sync_playwright

from teachers.corpora.conversations import CHITCHAT, clean, read
from tests.jobs.running import run_job
from tests.tiny_models import make_sparse_student, make_student, make_teacher

NUM_CONVERSATIONS = 60
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def _write_conversations(path: Path) -> list[str]:
    """Write real conversations and two bad rows as JSON Lines; return their words."""
    lines: list[str] = ["{not json", json.dumps({"messages": [{"role": "robot", "content": "hi"}]})]
    words: set[str] = set()

    for _, row in read(CHITCHAT):
        messages = clean(row, 200).messages
        if len(messages) < 8:
            continue
        lines.append(json.dumps({"messages": messages[:8]}))
        for message in messages[:8]:
            words.update(message["content"].lower().split())
        if len(lines) == NUM_CONVERSATIONS + 2:
            break

    path.write_text("\n".join(lines))
    return sorted(words)


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    words = _write_conversations(folder / "conversations.jsonl")
    tiny_teacher = {"dtype": "float32", "max_model_tokens": 512, "max_sane_loss": 50}

    settings = {
        "examples": {
            "conversations": str(folder / "conversations.jsonl"),
            "max_train": 60,
            "test_share": 0.3,
            "validation_share": 0.2,
        },
        "teachers": {
            "chat": {"model": str(make_teacher(folder / "chat", chat=True, seed=1)), **tiny_teacher},
            "retriever": {
                "kind": "similarity",
                "model": str(make_student(folder / "retriever", words)),
                "num_cpus": 1,
                "max_tokens": 64,
            },
        },
        "finetune": {"epochs": 1, "sequences_per_step": 16, "precision": "fp32", "max_tokens": 256},
        # So short that a random model ends neither its turn nor a sentence: every sample is dropped.
        "generate": {"contexts": 12, "max_tokens": 2, "batch_size": 4},
        "candidates": {"evaluation_contexts": 4},
        "index": {"rerank_depth": 5},
        "student": {
            "model": str(make_student(folder / "encoder", words)),
            "num_workers": 1,
            "global_batch_size": 8,
            "checkpoint_every_steps": 2,
            "precision": "fp32",
        },
    }

    make_sparse_student(folder / "sparse-encoder", words)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def retriever_alone(config: Path) -> Path:
    """The same job without the teacher whose engine takes a minute to start."""
    settings = yaml.safe_load(config.read_text())
    del settings["teachers"]["chat"]
    file = config.parent / "retriever-alone.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture(scope="session")
def run(config: Path) -> Path:
    """The run directory of a finished job."""
    location = config.parent / "run"
    output = run_job("distill", config, "--run", str(location))
    assert "talk to it" in output
    return location
