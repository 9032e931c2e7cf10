"""Writes a run's student as ONNX, for serving without torch.

python jobs/export.py [--run NAME|URI]
"""

import argparse
import importlib.util
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.execution.session import run_main

if TYPE_CHECKING:
    from jobs.execution.run_directory import RunDirectory
    from student.config import StudentConfig
    from student.encoders.encoder import Side

logger = logging.getLogger("jobs.export")  # as a script its own name would be __main__

_MAX_TEXTS = 200


def main() -> int:
    """Export; return the exit status, 2 where there is nothing to export or the export is wrong."""
    return run_main(run_export)


def run_export(arguments: list[str]) -> None:
    """Export the student of the run that the arguments name, or of the newest.

    Raises:
        ValueError: there is no such run or student, or it cannot be exported.
    """
    parser = argparse.ArgumentParser(prog="export.py")
    parser.add_argument("--run", help="run directory, a name under runs/ or a URI; default: the newest")
    parser.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError("onnxruntime is not installed (install the extra `onnx`)")

    from jobs.execution.run_directory import RunDirectory, locate_finished
    from teachers.storage import file_exists

    run = locate_finished(options.run)
    if not file_exists(f"{run}/student/modules.json"):
        raise ValueError(f"{run} has no student")
    export(RunDirectory(run))


def export(run: "RunDirectory") -> None:
    """Write `onnx/HASH` of the run's student, unless it is there, and print how far it is from torch.

    Raises:
        ValueError: the student cannot be exported, or torch computes something else.
    """
    from jobs.reports.terminal import print_parity
    from student.encoders.encoder import student_hash
    from student.export.onnx_encoder import MANIFEST
    from student.export.onnx_export import export_student
    from teachers.storage import local_folder

    config = _student_config(run)
    with tempfile.TemporaryDirectory(prefix="rejoinder-student-") as scratch:
        student = local_folder(run.at("student"), Path(scratch))
        fingerprint = student_hash(str(student))
        folder = run.at("onnx", fingerprint)

        manifest = run.read_json("onnx", fingerprint, MANIFEST)
        if manifest is not None:
            logger.info("%s: done before for this student", folder)
        else:
            texts = _texts(run, config.context_turns)
            manifest = export_student(student, folder, config.kind, config.max_tokens, texts)
            logger.info("%s: written", folder)
    print_parity(manifest)


def _student_config(run: "RunDirectory") -> "StudentConfig":
    from pydantic import ValidationError

    from student.config import StudentConfig

    try:
        return StudentConfig(**run.read_json("run.json")["config"]["student"])
    except ValidationError:
        raise ValueError(f"{run.at('run.json')} was written by another version of Rejoinder") from None


def _texts(run: "RunDirectory", context_turns: int) -> "dict[Side, list[str]]":
    """Texts to compare two programs with, which any do; test examples first."""
    from student.text import context_text
    from teachers.dataset import read_rows

    rows = sorted(read_rows(run.at("examples")), key=lambda row: row["split"] != "test")[:_MAX_TEXTS]
    return {
        "context": [context_text(row["context"], context_turns) for row in rows],
        "response": [row["gold_response"] for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
