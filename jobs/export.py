"""Writes a run's student as ONNX, for serving without torch.

python jobs/export.py [--run NAME|URI]
"""

import argparse
import importlib.util
import sys

from jobs.execution.session import run_main


def main(arguments: list[str]) -> None:
    """Export the student of the run that the arguments name, or of the newest, and print its parity."""
    parser = argparse.ArgumentParser(prog="export.py")
    parser.add_argument("--run", help="run directory, a name under runs/ or a URI; default: the newest")
    parser.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError("onnxruntime is not installed (install the extra `onnx`)")

    from jobs.execution.run_directory import locate_finished
    from jobs.reports.terminal import print_parity
    from student.export.run_export import export_run

    print_parity(export_run(locate_finished(options.run)))


if __name__ == "__main__":
    sys.exit(run_main(main))
