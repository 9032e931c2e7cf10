"""What stands before a replica: the time that each way adds to a request that needs no work.

    python benchmarks/ingress.py [--quick]

GET /health of one replica, by Ray Serve's proxy in Python, by HAProxy with settings of Ray's, straight from
the replica's own port, and the same route behind bare uvicorn. The last line is JSON: milliseconds of each
way at one connection, over bare uvicorn's.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import psutil
from load import GET_HEALTH, closed_loop, medians_of
from rich.console import Console
from rich.table import Table
from served_run import write_run
from servers import bare_uvicorn, ours

REPLICA_PORTS = range(30_000, 31_000)
HAPROXY = "HAProxy"
WAYS = {
    "Ray's proxy": {"RAY_SERVE_ENABLE_HA_PROXY": "0"},
    HAPROXY: {},
    "HAProxy, access log in blocks": {"RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000"},
    "HAProxy, one thread a replica": {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"},
    "HAProxy, throughput optimised": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}


def measure(ports: list[int], seconds: float) -> dict[str, float]:
    """Milliseconds at one connection, requests a second at eight."""
    asyncio.run(closed_loop(ports, [GET_HEALTH], 8, 1.0))
    figures = {}
    for connections in (1, 8):
        milliseconds, statuses = asyncio.run(closed_loop(ports, [GET_HEALTH], connections, seconds))
        if set(statuses) != {200}:
            raise RuntimeError(f"answers other than 200: {statuses}")

        if connections == 1:
            figures["p50 ms"] = statistics.median(milliseconds)
            figures["p99 ms"] = statistics.quantiles(milliseconds, n=100)[98]
        else:
            figures["requests/s"] = len(milliseconds) / seconds
    return figures


def replica_port() -> int:
    """The port of the one replica."""
    for process in psutil.Process().children(recursive=True):
        if "ServeReplica" in " ".join(process.cmdline()):
            for connection in process.net_connections():
                if connection.status == "LISTEN" and connection.laddr.port in REPLICA_PORTS:
                    return int(connection.laddr.port)
    raise RuntimeError("no replica listens")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one round, shorter")
    num_rounds, seconds = (1, 2.0) if parser.parse_args().quick else (3, 5.0)
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="rejoinder-ingress-") as scratch:
        run = Path(scratch) / "run"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(write_run, (run, 1_000, 1_000))

        for _ in range(num_rounds):
            with bare_uvicorn(run) as ports:
                results.setdefault("bare uvicorn", []).append(measure(ports, seconds))
            for way, environment in WAYS.items():
                with ours(run, environment=environment) as ports:
                    results.setdefault(way, []).append(measure(ports, seconds))
                    if way == HAPROXY:
                        straight = measure([replica_port()], seconds)
                        results.setdefault("the replica itself", []).append(straight)
                print(way, results[way][-1], flush=True)

    medians = {way: medians_of(rounds) for way, rounds in results.items()}
    table = Table("GET /health", *next(iter(medians.values())))
    for way, figures in medians.items():
        table.add_row(way, *(f"{value:.2f}" for value in figures.values()))
    Console().print(table)

    bare = medians.pop("bare uvicorn")["p50 ms"]
    ratios = {f"{way}_ratio": round(figures["p50 ms"] / bare, 2) for way, figures in medians.items()}
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
