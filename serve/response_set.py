"""The response set: every text that a run can respond with."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset

from teachers.records import RESPONSE_SET
from teachers.storage import open_uri


def response_id(text: str) -> str:
    """16 hexadecimal digits of a text, equal for texts that differ in white space only."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def response_set(targets_uri: str) -> pa.Table:
    """The distinct gold and generated responses of the training rows, RESPONSE_SET, sorted by text.

    Texts that differ only in white space are one response; one that is both gold and generated is
    gold. The order and the ids depend on the texts alone, not on how the rows lie in files.

    Raises:
        ValueError: no training row has a response.
    """
    best: dict[str, tuple[bool, str, str]] = {}  # normalised text -> (generated?, teacher, text)

    for candidate in _training_candidates(targets_uri):
        normalised = " ".join(candidate["text"].split())
        if candidate["source"] not in ("gold", "generated") or not normalised:
            continue

        entry = (candidate["source"] == "generated", candidate["teacher"] or "", candidate["text"].strip())
        best[normalised] = min(entry, best.get(normalised, entry))

    if not best:
        raise ValueError(f"{targets_uri}: no gold or generated response in the training split")

    rows: list[dict[str, Any]] = []
    for _, (generated, teacher, text) in sorted(best.items()):
        rows.append(
            {
                "response_id": response_id(text),
                "text": text,
                "source": "generated" if generated else "gold",
                "teacher": teacher or None,
            }
        )
    return pa.Table.from_pylist(rows, schema=RESPONSE_SET)


def _training_candidates(targets_uri: str) -> Iterator[dict[str, Any]]:
    filesystem, path = open_uri(targets_uri)
    targets = pyarrow.dataset.dataset(path, filesystem=filesystem, format="parquet")
    training = pyarrow.dataset.field("split") == "train"
    for batch in targets.to_batches(columns=["candidates"], filter=training):
        for candidates in batch["candidates"].to_pylist():
            yield from candidates
