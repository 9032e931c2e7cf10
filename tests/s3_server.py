"""A bucket on loopback, by moto, that is slow and fails when a test says so."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_KEY, _SECRET = "reader", "secret"
_FAILURE = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class FaultyBucket:
    """A bucket, and what is wrong with it."""

    uri: str
    """`s3://…?…`, into which `at` puts a path"""
    delay_s: float = 0.0
    """Seconds that each request takes longer."""
    failures: int = 0
    """Requests that are still to be answered by 503."""
    requests: list[str] = field(default_factory=list)
    """Methods of the requests so far."""
    before_put: Callable[[], object] = lambda: None
    """Called before a PUT is done."""
    downloads: list[str] = field(default_factory=list)
    """Paths of the files that were read so far."""

    def at(self, path: str) -> str:
        """Return the URI of `path` in the bucket."""
        address, _, query = self.uri.partition("?")
        return f"{address}/{path}?{query}"


@contextmanager
def faulty_bucket() -> Iterator[FaultyBucket]:
    """Yield an empty bucket of a server that ends with the body."""
    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Any:
        bucket.requests.append(environment["REQUEST_METHOD"])
        path = environment["PATH_INFO"].removeprefix("/runs").strip("/")
        if environment["REQUEST_METHOD"] == "GET" and path:  # else it lists files
            bucket.downloads.append(path)
        if environment["REQUEST_METHOD"] == "PUT":
            bucket.before_put()
        time.sleep(bucket.delay_s)
        if bucket.failures:
            bucket.failures -= 1
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [_FAILURE]
        return moto(environment, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    address = f"127.0.0.1:{server.server_port}"
    query = f"endpoint_override={address}&scheme=http&region=us-east-1"
    bucket = FaultyBucket(f"s3://{_KEY}:{_SECRET}@runs?{query}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{address}",
            region_name="us-east-1",
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
        )
        client.create_bucket(Bucket="runs")
        bucket.requests.clear()
        yield bucket
    finally:
        server.shutdown()
