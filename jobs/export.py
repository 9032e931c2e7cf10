"""Writes a run's student as ONNX, for serving without torch.

python jobs/export.py [--run NAME|URI]
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.execution.run_directory import RunDirectory

_MAX_TEXTS = 200


def main() -> int:
    """Exports; exit status 2 where there is nothing to export or the export is wrong."""
    parser = argparse.ArgumentParser(prog="export.py")
    parser.add_argument("--run", help="run directory, a name under runs/ or a URI; default: the newest")
    options = parser.parse_args()
    if importlib.util.find_spec("onnxruntime") is None:
        return _error("onnxruntime is not installed (install the extra `onnx`)")

    from jobs.execution.run_directory import RunDirectory, newest_run
    from teachers.storage import file_exists

    location = options.run or newest_run(Path("runs"))
    if location is None:
        return _error("no finished run under runs/; `make distill` makes one")
    location = str(location)
    run = location if "/" in location else str(Path("runs") / location)
    if not file_exists(f"{run}/student/modules.json"):
        return _error(f"{run} has no student")
    try:
        export(RunDirectory(run))
    except ValueError as error:
        return _error(str(error))
    return 0


def export(run: "RunDirectory") -> None:
    """Writes `onnx/HASH` of the run's student, unless it is there, and prints how far it is from torch.

    Raises:
        ValueError: the student cannot be exported, or torch computes something else.
    """
    from pydantic import ValidationError

    from student.config import StudentConfig
    from student.encoders.encoder import student_hash
    from student.export.onnx_encoder import MANIFEST
    from student.export.onnx_export import export_student
    from student.text import context_text
    from teachers.dataset import read_rows
    from teachers.storage import local_folder

    try:
        config = StudentConfig(**run.read_json("run.json")["config"]["student"])
    except ValidationError:
        raise ValueError(f"{run.at('run.json')} was written by another version of Rejoinder") from None
    with tempfile.TemporaryDirectory(prefix="rejoinder-student-") as scratch:
        student = local_folder(run.at("student"), Path(scratch))
        fingerprint = student_hash(str(student))
        folder = run.at("onnx", fingerprint)
        manifest = run.read_json("onnx", fingerprint, MANIFEST)
        if manifest is not None:
            print(f"{folder}: done before for this student")
        else:
            # Test examples first; what is compared is two programs, so any text will do.
            rows = sorted(read_rows(run.at("examples")), key=lambda row: row["split"] != "test")[:_MAX_TEXTS]
            manifest = export_student(
                student,
                folder,
                config.kind,
                config.max_tokens,
                {
                    "context": [context_text(row["context"], config.context_turns) for row in rows],
                    "response": [row["gold_response"] for row in rows],
                },
            )
            print(f"{folder}: written")
    _print_parity(manifest)


def _print_parity(manifest: dict[str, Any]) -> None:
    """One row for each side and file: size, distance from torch, and what a text takes on one thread."""
    from rich.console import Console
    from rich.table import Table

    columns = ["MB", "max difference", "mean difference", "mean cosine"]
    columns += ["overlap of terms"] if manifest["kind"] == "sparse" else []
    table = Table(title="ONNX Runtime and torch on the same texts")
    table.add_column("side")
    table.add_column("file")
    for column in [*columns, "ms", "torch ms"]:
        table.add_column(column, justify="right")
    for side, entry in manifest["encoders"].items():
        for precision in ("fp32", "int8"):
            figures = entry[precision]
            overlap = [f"{figures['mean_jaccard']:.3f}"] if "mean_jaccard" in figures else []
            table.add_row(
                side,
                figures["file"],
                f"{figures['size_bytes'] / 1e6:.1f}",
                f"{figures['max_abs_difference']:.1e}",
                f"{figures['mean_abs_difference']:.1e}",
                f"{figures['mean_cosine']:.4f}",
                *overlap,
                f"{figures['latency_ms']:.1f}",
                f"{entry['torch_latency_ms']:.1f}",
            )
    Console(width=None if Console().is_terminal else 120).print(table)


def _error(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
