"""Export of the student of a run directory, which has its config, its weights and its examples."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from student.config import StudentConfig
from student.encoders.encoder import Side, student_hash
from student.export.onnx_encoder import MANIFEST
from student.export.onnx_export import export_student
from student.text import context_text
from teachers.dataset import read_rows
from teachers.storage import absolute, file_exists, local_folder, read_json

logger = logging.getLogger(__name__)

_MAX_TEXTS = 200


def export_run(run_uri: str) -> dict[str, Any]:
    """Write `onnx/HASH` of the run's student, unless it is there, and return its manifest.

    Raises:
        ValueError: there is no student, it cannot be exported, or torch computes something else.
    """
    if not file_exists(f"{run_uri}/student/modules.json"):
        raise ValueError(f"{run_uri} has no student")

    run_uri = absolute(run_uri.rstrip("/"))
    config = _student_config(f"{run_uri}/run.json")
    with tempfile.TemporaryDirectory(prefix="rejoinder-student-") as scratch:
        student = local_folder(f"{run_uri}/student", Path(scratch))
        folder_uri = f"{run_uri}/onnx/{student_hash(str(student))}"

        manifest: dict[str, Any] | None = read_json(f"{folder_uri}/{MANIFEST}")
        if manifest is not None:
            logger.info("%s: done before for this student", folder_uri)
            return manifest

        texts = _texts(f"{run_uri}/examples", config.context_turns)
        manifest = export_student(student, folder_uri, config.kind, config.max_tokens, texts)
        logger.info("%s: written", folder_uri)
        return manifest


def _student_config(uri: str) -> StudentConfig:
    try:
        return StudentConfig(**read_json(uri)["config"]["student"])
    except ValidationError:
        raise ValueError(f"{uri} was written by another version of Rejoinder") from None


def _texts(examples_uri: str, context_turns: int) -> dict[Side, list[str]]:
    """Return texts that torch and ONNX Runtime are compared on; those of test examples first."""
    rows = sorted(read_rows(examples_uri), key=lambda row: row["split"] != "test")[:_MAX_TEXTS]
    return {
        "context": [context_text(row["context"], context_turns) for row in rows],
        "response": [row["gold_response"] for row in rows],
    }
