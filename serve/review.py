"""The response set as its reviewers see it: searched, filtered, counted, with near copies side by side.

N responses: those of the index, then the added ones; withdrawn ones are among both.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from serve.changes import Changes
from serve.dense import Mask
from serve.flags import FLAGS, flags_of
from serve.responder import Responder
from serve.schemas import ListedResponse, ListRequest, ResponseList, SimilarList, SimilarResponse
from teachers.records import RESPONSE_SET
from teachers.texts import is_near_copy, text_key

REPEATED = "repeated"
"""The flag of a response with the words of another one; neither is withdrawn."""
# Near copies are looked for among so many of the most similar responses, and so many others are shown.
_NUM_COMPARED = 100
_NUM_OTHERS = 10

# What a text is searched by and flagged with.
_TEXT_COLUMNS = pa.schema([("key", pa.string()), *((flag, pa.bool_()) for flag, _ in FLAGS)])

Facets = Mapping[str, Mapping[str, Mask]]
"""The name of a filter -> each of its values -> the responses [N] that have it."""


class Review:
    """Lists a responder's responses; the text columns of 250,000 take seconds and are kept for an index."""

    def __init__(self) -> None:
        self._kept = ("", _TEXT_COLUMNS.empty_table())

    def list_responses(self, responder: Responder, request: ListRequest) -> ResponseList:
        """The responses that pass all filters of the request, and how many each filter's values would list.

        The query is searched in the texts without regard to case and punctuation.
        """
        responses, texts = self._columns(responder)
        facets = _facets(responses, texts, responder.changes)
        matches = np.asarray(pa.compute.match_substring(texts["key"], text_key(request.query)))

        passes: dict[str, Mask] = {}
        for facet, masks in facets.items():
            value = getattr(request, facet)
            if value is not None:
                passes[facet] = masks.get(value, np.zeros_like(matches))

        counts: dict[str, dict[str, int]] = {}
        for facet, masks in facets.items():
            others = [mask for other, mask in passes.items() if other != facet]
            among = np.logical_and.reduce([matches, *others])
            counts[facet] = {value: int((among & mask).sum()) for value, mask in masks.items()}

        rows = np.flatnonzero(np.logical_and.reduce([matches, *passes.values()]))
        listed: list[ListedResponse] = []
        for row in rows[request.offset : request.offset + request.limit]:
            [response] = responses.slice(row, 1).to_pylist()
            flags = [flag for flag, mask in facets["flag"].items() if mask[row]]
            state = responder.changes.state(response["response_id"])
            listed.append(
                ListedResponse(
                    id=response["response_id"],
                    text=response["text"],
                    source=response["source"],
                    teacher=response["teacher"],
                    state=state,
                    flags=flags,
                )
            )
        return ResponseList(total=len(rows), responses=listed, counts=counts)

    def _columns(self, responder: Responder) -> tuple[pa.Table, pa.Table]:
        """All responses [N] (RESPONSE_SET), and their text columns."""
        version, indexed_texts = self._kept
        if version != responder.version:
            indexed_texts = _text_columns(responder.indexed["text"].to_pylist())
            self._kept = responder.version, indexed_texts

        rows: list[dict[str, str]] = []
        for response_id, text in responder.unindexed.items():
            rows.append({"response_id": response_id, "text": text, "source": "added"})
        added = pa.Table.from_pylist(rows, schema=RESPONSE_SET)

        responses = pa.concat_tables([responder.indexed, added])
        return responses, pa.concat_tables([indexed_texts, _text_columns(added["text"].to_pylist())])


def similar_responses(responder: Responder, response_id: str, text: str) -> SimilarList:
    """The near copies of a response's text, then the responses most similar to it, without itself."""
    similar: list[SimilarResponse] = []
    for response in responder.nearest(text, _NUM_COMPARED + 1):
        if response.response_id == response_id:
            continue
        similar.append(
            SimilarResponse(
                id=response.response_id,
                text=response.text,
                source=response.source,
                teacher=response.teacher,
                state=responder.changes.state(response.response_id),
                flags=flags_of(response.text),
                similarity=response.score,
                near_copy=is_near_copy(response.text, [text]),
            )
        )

    copies = [response for response in similar if response.near_copy]
    others = [response for response in similar if not response.near_copy]
    return SimilarList(responses=[*copies, *others[:_NUM_OTHERS]])


def _text_columns(texts: Sequence[str]) -> pa.Table:
    rows: list[dict[str, str | bool]] = []
    for text in texts:
        rows.append({"key": text_key(text), **dict.fromkeys(flags_of(text), True)})
    return pa.Table.from_pylist(rows, schema=_TEXT_COLUMNS)


def _facets(responses: pa.Table, texts: pa.Table, changes: Changes) -> Facets:
    withdrawn = _is_in(responses["response_id"], changes.withdrawn)
    approved = _is_in(responses["response_id"], changes.approved)
    states = {"unreviewed": ~(withdrawn | approved), "approved": approved, "withdrawn": withdrawn}

    flags: dict[str, Mask] = {REPEATED: _is_repeated(texts["key"], ~withdrawn)}
    for flag, _ in FLAGS:
        flags[flag] = np.asarray(texts[flag].is_valid())  # null where the text lacks it
    return {
        "source": _masks(responses["source"]),
        "teacher": _masks(responses["teacher"]),
        "state": states,
        "flag": flags,
    }


def _masks(values: pa.ChunkedArray) -> dict[str, Mask]:
    """Each value but null, in alphabetical order -> the rows that have it."""
    masks: dict[str, Mask] = {}
    for value in sorted(values.drop_null().unique().to_pylist()):
        masks[value] = _is_in(values, [value])
    return masks


def _is_in(values: pa.ChunkedArray, chosen: Sequence[str] | frozenset[str]) -> Mask:
    mask: Mask = np.asarray(pa.compute.is_in(values, pa.array(sorted(chosen), pa.string())))
    return mask


def _is_repeated(keys: pa.ChunkedArray, present: Mask) -> Mask:
    """Whether a row that is present has the key of another one that is."""
    codes = np.asarray(pa.compute.rank(keys, tiebreaker="min"))
    repeated: Mask = present & (np.bincount(codes, weights=present)[codes] > 1)
    return repeated
