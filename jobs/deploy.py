"""Serves a run's student and index over HTTP until interrupted.

python jobs/deploy.py [--run NAME|URI] [--port 8000] [--replicas 2] [--encoder onnx-int8]
"""

import argparse
import sys
from typing import get_args

from jobs.execution.session import run_main
from serve.config import Backend, ServeConfig


def main(arguments: list[str]) -> None:
    """Serve the run that the arguments name, or the newest, until interrupted."""
    parser = argparse.ArgumentParser(prog="deploy.py")
    parser.add_argument("--run", help="run directory, a name under runs/ or a URI; default: the newest")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--encoder", choices=get_args(Backend), default="auto")
    parser.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    options = parser.parse_args(arguments)

    from jobs.execution.cluster import connect
    from jobs.execution.run_directory import locate_finished
    from serve.deployment import run_until_interrupted

    run = locate_finished(options.run)
    connect()
    config = ServeConfig(
        run=run, host=options.host, port=options.port, num_replicas=options.replicas, encoder=options.encoder
    )
    run_until_interrupted(config)


if __name__ == "__main__":
    sys.exit(run_main(main))
