"""Conversations: read from a source and cleaned; unusable rows are rejected.

A source is the packaged chitchat-dataset, or JSON Lines or Parquet files with a `messages` column in
OpenAI's chat format.
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

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from teachers.storage import folder_exists, open_uri, path_exists

Message = dict[str, str]

CHITCHAT = "chitchat-dataset"
_ROLES = ("system", "user", "assistant")
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


def source_identity(source: str) -> list[tuple[str, int | None, int | None]]:
    """Names, sizes and modification times of a source's files: they change when the source does."""
    if source == CHITCHAT:
        return [(source, None, None)]
    filesystem, _ = open_uri(source)
    files = filesystem.get_file_info(_files(source))
    return [(file.path, file.size, file.mtime_ns) for file in files]


def read(source: str) -> Iterator[tuple[str, Any]]:
    """Yield (row name, raw row) of conversations; the row that cannot be parsed is an Exception."""
    return _read_chitchat() if source == CHITCHAT else read_files(source, "messages")


def read_files(source: str, column: str) -> Iterator[tuple[str, Any]]:
    """Yield (row name, raw row) of JSON Lines, also gzipped, or Parquet: one file or a folder.

    Raises:
        ValueError: a Parquet file has no such column.
    """
    filesystem, _ = open_uri(source)
    for file in _files(source):
        name = Path(file).name
        if file.endswith(".parquet"):
            with filesystem.open_input_file(file) as stream:
                parquet = pq.ParquetFile(stream)
                if column not in parquet.schema_arrow.names:
                    raise ValueError(f"{file} has no column `{column}`")

                for number, row in enumerate(_parquet_rows(parquet)):
                    yield f"{name}:{number}", row
        else:
            with filesystem.open_input_stream(file) as stream:
                for number, line in enumerate(_lines(stream), start=1):
                    if line.strip():
                        yield f"{name}:{number}", _parse(line)


def _parquet_rows(parquet: pq.ParquetFile) -> Iterator[Any]:
    for batch in parquet.iter_batches(1024):
        yield from batch.to_pylist()


def _files(source: str) -> list[str]:
    """Paths of a source's files in its filesystem: one file, or those of a folder."""
    filesystem, path = open_uri(source)
    if not folder_exists(source):
        return [path]

    files = filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    suffixes = (".parquet", ".jsonl", ".jsonl.gz")
    return sorted(file.path for file in files if file.path.endswith(suffixes))


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    rest = b""
    while block := stream.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        return error


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

    for message in _check_messages(row):
        role, content, sender = _check_message(message)
        text = _SPACE.sub(" ", content).strip()
        if sender is not None and role != "system":
            cleaned.senders.add(sender)
        if role == "system":
            cleaned.dropped["system message"] += 1
        elif not text:
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


def _check_messages(row: Any) -> list[Any]:
    if isinstance(row, Exception):
        raise ValueError(f"not JSON: {row}")
    if not isinstance(row, dict) or "messages" not in row:
        raise ValueError("no `messages`")

    messages = row["messages"]
    if isinstance(messages, ValueError):
        raise messages
    if not isinstance(messages, list):
        raise ValueError("`messages` is not a list")
    return messages


def _check_message(message: Any) -> tuple[str, str, str | None]:
    if not isinstance(message, dict):
        raise ValueError("a message is not an object")

    role, content, sender = message.get("role"), message.get("content"), message.get("name")
    if role not in _ROLES:
        raise ValueError(f"unknown role {role!r}")
    if not isinstance(content, str):
        raise ValueError("`content` is not a string")
    if sender is not None and not isinstance(sender, str):
        raise ValueError("`name` is not a string")
    return role, content, sender


def cut_at_word(text: str, max_characters: int) -> str:
    """Return the longest beginning of `text` that ends with a word and fits; a single long word is cut."""
    if len(text) <= max_characters:
        return text
    cut = text[: max_characters + 1].rsplit(" ", 1)[0]
    return cut[:max_characters].rstrip()
