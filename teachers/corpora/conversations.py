"""Conversations: read from a source and cleaned; unusable rows are rejected.

A source is the packaged chitchat-dataset, or files of rows (`teachers.corpora.row_files`) with messages in
one of the shapes of `teachers.corpora.messages`.
"""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from teachers.corpora.messages import COLUMNS
from teachers.corpora.messages import turns as turns_of
from teachers.corpora.row_files import content_identity, read_files
from teachers.storage import path_exists
from teachers.words import cut_at_word

Message = dict[str, str]

CHITCHAT = "chitchat-dataset"
_SPACE = re.compile(r"\s+")


@dataclass
class Cleaned:
    """One cleaned conversation; `messages` is empty where no turn is usable."""

    messages: list[Message]
    senders: set[str] = field(default_factory=set)
    """Senders by the messages' `name`, where they have one."""
    dropped: Counter[str] = field(default_factory=Counter)


def check_source(source: str) -> None:
    """Raise ValueError where the source cannot be read, before anything is started."""
    if source == CHITCHAT:
        if importlib.util.find_spec("chitchat_dataset") is None:
            raise ValueError(f"{source!r} is not installed (install the extra `local`)")
        return
    if not path_exists(source):
        raise ValueError(f"{source!r} does not exist")


def source_identity(source: str) -> list[tuple[str, str]]:
    """Names and digests of a source's files: they change when its content does, wherever it lies."""
    return [(source, "")] if source == CHITCHAT else content_identity(source)


def read(source: str) -> Iterator[tuple[str, Any]]:
    """Yield (row name, raw row) of conversations; the row that cannot be parsed is an Exception."""
    return _read_chitchat() if source == CHITCHAT else read_files(source, COLUMNS)


def _read_chitchat() -> Iterator[tuple[str, Any]]:
    # The package's own module holds only readers; its data file is found without importing it.
    spec = importlib.util.find_spec("chitchat_dataset")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).with_name("dataset.json")

    for key, conversation in json.loads(path.read_text()).items():
        senders: list[str] = []
        messages = []
        for utterance in chain.from_iterable(conversation["messages"]):
            if utterance["sender"] not in senders:
                senders.append(utterance["sender"])
            role = ("user", "assistant")[senders.index(utterance["sender"]) % 2]
            messages.append({"role": role, "content": utterance["text"], "name": utterance["sender"]})

        yield key, {"messages": messages if len(senders) <= 2 else ValueError("more than two senders")}


def clean(row: Any, max_characters: int) -> Cleaned:
    """Return one conversation with alternating speakers.

    Consecutive messages of one speaker are merged, empty and duplicate turns dropped, over-long turns
    cut at a word, system messages left out.

    Raises:
        ValueError: the row is not a conversation; the message says why.
    """
    cleaned = Cleaned(messages=[])
    turns = cleaned.messages

    for role, content, sender in turns_of(row, cleaned.dropped):
        text = _SPACE.sub(" ", content).strip()
        if sender is not None:
            cleaned.senders.add(sender)
        if not text:
            cleaned.dropped["empty turn"] += 1
        elif turns and turns[-1]["role"] == role:
            if turns[-1]["content"] == text:
                cleaned.dropped["duplicate turn"] += 1
            else:
                turns[-1]["content"] += " " + text
        elif turns and turns[-1]["content"] == text:
            cleaned.dropped["duplicate turn"] += 1
        else:
            turns.append({"role": role, "content": text})

    for turn in turns:
        if len(turn["content"]) > max_characters:
            turn["content"] = cut_at_word(turn["content"], max_characters)
            cleaned.dropped["turn cut"] += 1
    return cleaned
