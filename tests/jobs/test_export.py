"""`python jobs/export.py`: a run's student becomes `onnx/HASH/`, once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import export
from jobs.execution.session import run_main
from student.config import StudentConfig
from student.encoders.encoder import student_hash
from teachers.dataset import write_rows
from teachers.records import EXAMPLES
from tests.tiny_models import make_student


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with what the command reads: config, student, 70 examples, one of them for tests."""
    run = tmp_path_factory.mktemp("run")
    make_student(run / "student", [f"w{i}" for i in range(70)])
    rows = [
        {
            "example_id": f"{i}",
            "conversation_id": f"{i}",
            "split": "test" if i == 7 else "train",
            "context": [{"role": "user", "content": f"w{i}"}],
            "gold_response": f"w{i} w1",
        }
        for i in range(70)
    ]
    write_rows(str(run / "examples"), rows, EXAMPLES)
    config = StudentConfig(max_tokens=16).model_dump(mode="json")
    (run / "run.json").write_text(json.dumps({"config": {"student": config}}))
    return run


def _export(run: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["export.py", "--run", str(run)])
    return run_main(export.main)


def test_an_export_is_made_once_for_a_student(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _export(run, monkeypatch) == 0
    output = capsys.readouterr().out
    folder = run / "onnx" / student_hash(str(run / "student"))
    assert f"{folder}: written" in output and "model_int8.onnx" in output
    manifest = json.loads((folder / "onnx.json").read_text())
    assert manifest["encoders"]["context"]["texts"] == 70
    before = (folder / "model.onnx").stat().st_mtime_ns

    assert _export(run, monkeypatch) == 0
    output = capsys.readouterr().out
    assert "done before for this encoder" in output and "model_int8.onnx" in output
    assert (folder / "model.onnx").stat().st_mtime_ns == before

    make_student(run / "student", [f"w{i}" for i in range(80)])
    assert _export(run, monkeypatch) == 0
    another = run / "onnx" / student_hash(str(run / "student"))
    assert another != folder and f"{another}: written" in capsys.readouterr().out


def test_the_encoder_that_reranks_is_exported_too(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("student", "examples"):
        (tmp_path / name).symlink_to(run / name)
    untrained = make_student(tmp_path / "untrained", [f"w{i}" for i in range(90)])
    student = StudentConfig(model=str(untrained), max_tokens=16).model_dump(mode="json")
    config = {"student": student, "index": {"rerank_depth": 5}}
    (tmp_path / "run.json").write_text(json.dumps({"config": config}))

    assert _export(tmp_path, monkeypatch) == 0
    hashes = {student_hash(str(tmp_path / name)) for name in ("student", "untrained")}
    assert {folder.name for folder in (tmp_path / "onnx").iterdir()} == hashes


def test_a_config_of_another_version_is_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "student").symlink_to(run / "student")
    (tmp_path / "run.json").write_text(json.dumps({"config": {"student": {"alpha": 0.1}}}))
    assert _export(tmp_path, monkeypatch) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path}/run.json was written by another version of Rejoinder"
    ]


def test_a_run_without_a_student_is_one_line_and_nothing_is_made(tmp_path: Path) -> None:
    command = [sys.executable, "jobs/export.py", "--run", str(tmp_path / "nothing")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [f"error: {tmp_path}/nothing has no student"]
    assert not (tmp_path / "nothing").exists()
