"""The attempts of a teacher's workers, in a Ray actor: imports little, so that it starts at once."""

from typing import Any, NamedTuple

Row = dict[str, Any]


class Attempt(NamedTuple):
    """An attempt at rows that has not succeeded."""

    node: str
    error: str
    has_ended: bool
    """Whether its worker could say so"""


class Ledger:
    """The attempts of all workers of one teacher; a Ray actor."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._attempts: dict[str, Attempt] = {}
        self._made: dict[str, list[Row]] = {}
        self._deaths: dict[str, str] = {}

    def begin_file(self, file: str) -> bool:
        """Note that a worker begins a file of work; return whether one has begun it before."""
        has_begun = file in self._files
        self._files.add(file)
        return has_begun

    def state(self, key: str) -> tuple[list[Row] | None, Attempt | None]:
        """Return what was made at `key`, and the attempt that failed or was cut off."""
        return self._made.get(key), self._attempts.get(key)

    def put(self, key: str, attempt: Attempt | None) -> None:
        """Note an attempt; None forgets it."""
        if attempt is None:
            self._attempts.pop(key, None)
        else:
            self._attempts[key] = attempt

    def succeed(self, key: str) -> None:
        """End an attempt."""
        self.put(key, None)
        self._deaths.clear()

    def keep(self, key: str, made: list[Row]) -> None:
        """Keep the rows made of a part of a batch, which is not stored yet."""
        self._made[key] = made

    def count_death(self, error: str, call: str) -> list[str]:
        """Return the errors of the rows that took the process down, one after the other.

        A `call` that is sent twice counts once.
        """
        self._deaths[call] = error
        return list(self._deaths.values())
