"""Export of the student of a run directory, which has its config, its weights and its examples."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from student.config import StudentConfig
from student.encoders.encoder import Side, student_hash
from student.encoders.packaged import model_location, resolve_model
from student.export.onnx_encoder import MANIFEST
from student.export.onnx_export import export_student
from student.text import context_text
from teachers.dataset import read_rows
from teachers.storage import absolute, file_exists, local_folder, read_json

logger = logging.getLogger(__name__)

_MAX_TEXTS = 200


def export_run(run_uri: str) -> dict[str, Any]:
    """Write `onnx/HASH` of the run's student, unless it is there, and return its manifest.

    Where the untrained student re-ranks, it is written in the same way.

    Raises:
        ValueError: there is no student, it cannot be exported, or torch computes something else.
    """
    if not file_exists(f"{run_uri}/student/modules.json"):
        raise ValueError(f"{run_uri} has no student")

    run_uri = absolute(run_uri.rstrip("/"))
    config = read_json(f"{run_uri}/run.json")["config"]
    try:
        student = StudentConfig(**config["student"])
    except ValidationError:
        raise ValueError(f"{run_uri}/run.json was written by another version of Rejoinder") from None

    manifest = _export(f"{run_uri}/student", run_uri, student)
    if student.kind == "dense" and config.get("index", {}).get("rerank_depth"):
        _export(model_location(resolve_model(student.model)), run_uri, student)
    return manifest


def _export(model: str, run_uri: str, config: StudentConfig) -> dict[str, Any]:
    """Write an encoder, a folder or a URI of one, unless it is there; return its manifest."""
    with tempfile.TemporaryDirectory(prefix="rejoinder-student-") as scratch:
        folder = local_folder(model, Path(scratch))
        folder_uri = f"{run_uri}/onnx/{student_hash(str(folder))}"

        manifest: dict[str, Any] | None = read_json(f"{folder_uri}/{MANIFEST}")
        if manifest is not None:
            logger.info("%s: done before for this encoder", folder_uri)
            return manifest

        texts = _texts(f"{run_uri}/examples", config.context_turns)
        manifest = export_student(folder, folder_uri, config.kind, config.max_tokens, texts)
        logger.info("%s: written", folder_uri)
        return manifest


def _texts(examples_uri: str, context_turns: int) -> dict[Side, list[str]]:
    """Return texts that torch and ONNX Runtime are compared on; those of test examples first."""
    rows = sorted(read_rows(examples_uri), key=lambda row: row["split"] != "test")[:_MAX_TEXTS]
    return {
        "context": [context_text(row["context"], context_turns) for row in rows],
        "response": [row["gold_response"] for row in rows],
    }
