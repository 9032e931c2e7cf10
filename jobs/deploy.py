"""Serves a run's student and index over HTTP until interrupted.

python jobs/deploy.py [--run NAME|URI] [--port 8000] [--replicas 2] [--encoder onnx-int8]
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

from serve.config import Backend, ServeConfig


def main() -> int:
    """Serves; exit status 2 where there is nothing to serve."""
    parser = argparse.ArgumentParser(prog="deploy.py")
    parser.add_argument("--run", help="run directory, a name under runs/ or a URI; default: the newest")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--encoder", choices=get_args(Backend), default="auto")
    options = parser.parse_args()

    from jobs.execution.cluster import connect
    from jobs.execution.run_directory import newest_run

    location = options.run or newest_run(Path("runs"))
    if location is None:
        print("error: no finished run under runs/; `make distill` makes one", file=sys.stderr)
        return 2
    location = str(location)
    run = location if "/" in location else str(Path("runs") / location)

    from serve.deployment import run_until_interrupted

    connect()
    try:
        run_until_interrupted(
            ServeConfig(
                run=run,
                host=options.host,
                port=options.port,
                num_replicas=options.replicas,
                encoder=options.encoder,
            )
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
