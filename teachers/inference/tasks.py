"""What a teacher does with rows of work, and where what it makes goes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from teachers.config import TeacherConfig
from teachers.engines.protocol import DEFAULT_MAX_TOKENS, Teacher
from teachers.inference.store import Row
from teachers.storage import absolute


@dataclass(frozen=True)
class Task:
    """What a worker does with rows of work, each of which has a `key`."""

    name: str
    """What a teacher does, as in "gemma3 scores"."""
    unit: str
    """What is done, in the plural."""
    request_schema: pa.Schema
    """Of the rows that come in."""
    made: pa.Schema
    """Of the rows that go to the store."""
    run: Callable[[Teacher, list[Row]], list[Row]]
    reject: Callable[[Row, str], list[Row]]
    """Rows for the store in place of a row that the teacher can't do, with the error."""
    scores: bool = False
    """Whether it asks for scores, which the teacher then shows to be right."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Of what it has the teacher write."""


class Made(NamedTuple):
    """Rows that one replica has made, and how long it computed."""

    num_rows: int
    seconds: float


@dataclass(frozen=True)
class TeacherWork:
    """A task for one teacher, and where its rows and notes go."""

    name: str
    config: TeacherConfig
    task: Task
    batch_size: int
    store_uri: str
    notes_uri: str

    def with_absolute_uris(self) -> "TeacherWork":
        """Return the same work for processes with another working directory."""
        return replace(self, store_uri=absolute(self.store_uri), notes_uri=absolute(self.notes_uri))
