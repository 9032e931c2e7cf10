"""Recorded values: the files of tests/golden, which `make golden` writes and every test run compares."""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("golden")
RELATIVE_TOLERANCE = 1e-4  # the order of a sum differs from one kind of CPU to another
ABSOLUTE_TOLERANCE = 1e-6
_NUMBER = re.compile(r"-?\d+\.\d+(e[+-]\d+)?")  # only a float has a point


def shown(value: float | int | str) -> str:
    """A value as it is recorded: a float with six significant digits, anything else exactly."""
    return f"{value:#.6g}" if isinstance(value, float) else str(value)


def assert_recorded(file: str, lines: Iterable[str]) -> None:
    """The lines are those of tests/golden/FILE; instead writes them where REJOINDER_WRITE_GOLDEN is 1."""
    lines, path = list(lines), FOLDER / file
    if os.environ.get("REJOINDER_WRITE_GOLDEN") == "1":
        path.write_text("".join(f"{line}\n" for line in lines))
        return

    recorded = path.read_text().splitlines()
    different: list[str] = []
    for before, now in zip(recorded, lines, strict=False):
        if not _is_same(before, now):
            different += [f"- {before}", f"+ {now}"]
    assert not different, "\n".join([f"{path} differs; `make golden` writes it again", *different])
    assert len(lines) == len(recorded), f"{path} has {len(recorded)} lines, expected {len(lines)}"


def _is_same(recorded: str, line: str) -> bool:
    before, now = recorded.split(" "), line.split(" ")
    return len(before) == len(now) and all(map(_is_same_word, before, now))


def _is_same_word(recorded: str, word: str) -> bool:
    if not (_NUMBER.fullmatch(recorded) and _NUMBER.fullmatch(word)):
        return recorded == word
    return math.isclose(float(recorded), float(word), rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
