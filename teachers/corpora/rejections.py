"""Rows of a source that are rejected: each is kept with its reason, and an error without rows counts them."""

import json
from collections import Counter
from typing import Any

from teachers.corpora.messages import row_format
from teachers.dataset import RowWriter

_NUM_SHOWN = 2
_REASON_CHARACTERS = 80
_ROW_CHARACTERS = 2000


class Rejections:
    """Writes REJECTED, and counts the rows of a source by their format and by the reason of a rejection."""

    def __init__(self, writer: RowWriter) -> None:
        self._writer = writer
        self._formats: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def see(self, row: Any) -> None:
        """Count a row that was read."""
        self._formats[row_format(row)] += 1

    def add(self, origin: str, row: Any, reason: str) -> None:
        """Keep a row that is rejected."""
        # A lone surrogate in a column's name is in the reason, too, and cannot be written.
        reason = reason.encode(errors="backslashreplace").decode()
        self._writer.write({"origin": origin, "row": _as_text(row), "reason": reason})
        self._reasons[reason[:_REASON_CHARACTERS]] += 1

    def in_words(self) -> str:
        """Return a phrase: how many rows there were of which format, and why some were rejected."""
        num_rows = self._formats.total()
        if not num_rows:
            return "no rows"

        formats = []
        for name, count in self._formats.most_common(_NUM_SHOWN):
            formats.append(f"{count} rows of {name}")
        phrase = ", ".join(formats)

        if self._reasons:
            reasons = [f"{reason}: {count}" for reason, count in self._reasons.most_common(_NUM_SHOWN)]
            phrase += f"; {self._reasons.total()} of {num_rows} rows were rejected ({', '.join(reasons)})"
        return phrase


def _as_text(row: Any) -> str:
    try:
        return json.dumps(row, default=str, ensure_ascii=True)[:_ROW_CHARACTERS]
    except (ValueError, TypeError, RecursionError):  # nested too deeply, or keys that JSON has not
        return repr(type(row))
