"""Requests over HTTP at a number of connections or at a rate, by an asyncio client that does little else."""

import asyncio
import json
import statistics
import time
from typing import Any

_HEAD = (
    "POST /respond HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    "Content-Length: {}\r\n\r\n"
)


class Connection:
    """One persistent connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> int:
        """Send a request; return the status of the answer, or 0 where the connection broke."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams

            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            [length] = [line.split(":")[1] for line in head.split("\r\n") if "content-length:" in line]
            await reader.readexactly(int(length))
            return int(head.split(" ", 2)[1])
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return 0

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


GET_HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def requests_of(conversations: list[Any], k: int = 5) -> list[bytes]:
    """One request for each conversation."""
    bodies = [json.dumps({"messages": messages, "k": k}).encode() for messages in conversations]
    return [_HEAD.format(len(body)).encode() + body for body in bodies]


async def closed_loop(
    ports: list[int], requests: list[bytes], connections: int, seconds: float
) -> tuple[list[float], dict[int, int]]:
    """Send each connection's next request after its answer; return milliseconds and counts by status."""
    milliseconds: list[float] = []
    statuses: dict[int, int] = {}
    until = time.perf_counter() + seconds

    async def one(number: int) -> None:
        connection = Connection(ports[number % len(ports)])
        while time.perf_counter() < until:
            start = time.perf_counter()
            status = await connection.send(requests[number % len(requests)])
            milliseconds.append(1000 * (time.perf_counter() - start))
            statuses[status] = statuses.get(status, 0) + 1
            number += connections
        connection.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return milliseconds, statuses


async def open_loop(
    ports: list[int], requests: list[bytes], rate: float, seconds: float, connections: int = 64
) -> tuple[list[float], dict[int, int]]:
    """Send requests at even times; return milliseconds since each was due, and counts by status."""
    milliseconds: list[float] = []
    statuses: dict[int, int] = {}
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for number in range(connections):
        free.put_nowait(Connection(ports[number % len(ports)]))

    async def one(number: int, due: float) -> None:
        connection = await free.get()
        status = await connection.send(requests[number % len(requests)])
        milliseconds.append(1000 * (time.perf_counter() - due))
        statuses[status] = statuses.get(status, 0) + 1
        free.put_nowait(connection)

    start = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait().close()
    return milliseconds, statuses


def medians_of(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
