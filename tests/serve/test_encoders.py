"""Backends of the student in a replica: ONNX Runtime scores as torch does."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers

from serve.changes import Changes
from serve.encoders import OnnxEncoder, TorchEncoder, load_encoders
from serve.index import Index, load_index
from serve.inverted import Scores
from serve.responder import Responder
from student.export.onnx_export import export_student
from tests.serve.conftest import version_folder

CONVERSATIONS = [[{"role": "user", "content": text}] for text in ("hello", "how are you", "never cook fish")]


@pytest.fixture(scope="module")
def exported(any_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its student exported to ONNX."""
    run = Path(shutil.copytree(any_run, tmp_path_factory.mktemp("exported") / "chat"))
    metadata = load_index(version_folder(run)).metadata
    texts = [message["content"] for [message] in CONVERSATIONS] * 22

    export_student(
        run / "student",
        str(run / "onnx" / metadata["student_hash"]),
        metadata["student_kind"],
        metadata["max_tokens"],
        {"context": texts, "response": texts},
    )

    return run


def scores(run: Path, index: Index, backend: str) -> tuple[list[str], Scores]:
    encoders = load_encoders(str(run), index, backend, 1)  # type: ignore[arg-type]
    responder = Responder(index, encoders, Changes())

    ids: list[str] = []
    values: list[float] = []
    for conversation in CONVERSATIONS:
        for response in responder.respond(conversation, 4).responses:
            ids.append(response.response_id)
            values.append(response.score)
    return ids, np.array(values)


@pytest.mark.parametrize(("backend", "tolerance"), [("onnx", 1e-4), ("onnx-int8", 0.1)])
def test_onnx_scores_as_torch_does(exported: Path, backend: str, tolerance: float) -> None:
    index = load_index(version_folder(exported))
    expected_ids, expected = scores(exported, index, "torch")
    ids, actual = scores(exported, index, backend)
    if backend == "onnx":
        assert ids == expected_ids
    np.testing.assert_allclose(actual, expected, atol=tolerance * np.abs(expected).max())


def test_a_replica_loads_the_student_on_the_cpu(any_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[str] = []
    for name in ("SentenceTransformer", "SparseEncoder"):
        encoder_class = getattr(sentence_transformers, name)

        class Recorded(encoder_class):  # type: ignore[misc, valid-type]
            def __init__(self, *arguments: Any, device: str, **options: Any) -> None:
                devices.append(device)
                super().__init__(*arguments, device="cpu", **options)

        monkeypatch.setattr(sentence_transformers, name, Recorded)
    load_encoders(str(any_run), load_index(version_folder(any_run)), "torch", 1)
    assert devices == ["cpu"]


def test_the_default_is_onnx_where_the_student_was_exported(exported: Path, any_run: Path) -> None:
    for run, expected in ((exported, OnnxEncoder), (any_run, TorchEncoder)):
        encoders = load_encoders(str(run), load_index(version_folder(run)), "auto", 1)
        assert type(encoders.student) is expected


def test_a_run_without_an_export_is_refused(small_run: Path) -> None:
    with pytest.raises(ValueError, match=r"encoder: .* has no ONNX export of the student .*jobs/export\.py"):
        load_encoders(str(small_run), load_index(version_folder(small_run)), "onnx", 1)
