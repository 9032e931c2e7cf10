"""Serves a run and redeploys it for each line of its input, for tests of faults.

python -m tests.serve.fault_driver RUN PORT

Each line is the JSON of keys of ServeConfig to deploy with; "done" follows once they are served.
"""

import json
import sys

from ray import serve as ray_serve

from jobs.execution.cluster import connect
from serve.config import ServeConfig
from serve.deployment import deploy


def main(run: str, port: str) -> None:
    """Serve until the input ends."""
    connect()
    try:
        for line in sys.stdin:
            deploy(ServeConfig(run=run, port=int(port), replica_cpus=0.5, **json.loads(line)))
            print("done", flush=True)
    finally:
        ray_serve.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
