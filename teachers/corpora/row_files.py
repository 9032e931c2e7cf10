"""Rows of files: JSON Lines, a JSON array or Parquet, also compressed, one file or a folder of them."""

import json
import logging
from collections.abc import Collection, Iterator
from functools import cache
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from teachers.storage import file_digest_of, folder_exists, open_uri

logger = logging.getLogger(__name__)

_LINES = (".jsonl", ".ndjson", ".json")
# pyarrow decompresses by these names.
_COMPRESSIONS = ("", ".gz", ".zst", ".bz2")
_SUFFIXES = (".parquet", *(f"{lines}{compression}" for lines in _LINES for compression in _COMPRESSIONS))
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_files(source: str, columns: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield (row name, raw row) of a source's files; the row that cannot be parsed is an Exception.

    A row is named by its file, from the source's folder on, and its line, or its place from 0 on.

    Raises:
        ValueError: a file cannot be decompressed or decoded, or a Parquet file has none of the `columns`.
    """
    filesystem, root = open_uri(source)
    for file in row_files(source):
        name = file.removeprefix(root).strip("/") or _base_name(file)
        if file.endswith(".parquet"):
            rows = _parquet_rows(filesystem, file, columns)
        else:
            rows = _json_rows(filesystem, file)
        for place, row in rows:
            yield f"{name}:{place}", row


def row_files(source: str) -> list[str]:
    """Return the paths of a source's files in its filesystem: one file, or those of a folder.

    Raises:
        ValueError: a folder has no such file.
    """
    filesystem, path = open_uri(source)
    if not folder_exists(source):
        return [path]

    files = filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    paths = sorted(file.path for file in files if file.is_file)
    chosen = [file for file in paths if file.endswith(_SUFFIXES)]
    if not chosen:
        raise ValueError(f"{source}: expected files that end in {', '.join(_SUFFIXES)}, got none")

    # Spark and others put files such as _SUCCESS beside those that they write.
    others = [file for file in paths if not file.endswith(_SUFFIXES) and _base_name(file)[0] not in "_."]
    if others:
        example = _base_name(others[0])
        _log_once(f"{source}: files passed over for their names: {len(others)}, such as {example}")
    return chosen


def _base_name(file: str) -> str:
    return file.rpartition("/")[2]


@cache
def _log_once(line: str) -> None:
    """Log a line once in a process: a source is listed for its key, and again to be read."""
    logger.info(line)


def row_object(row: Any) -> dict[str, Any]:
    """Return a row that was read, an object.

    Raises:
        ValueError: it is none; the message says why.
    """
    if isinstance(row, RecursionError):
        raise ValueError("JSON that is nested too deeply")
    if isinstance(row, Exception):
        raise ValueError(f"not JSON: {row}")
    if not isinstance(row, dict):
        raise ValueError("not an object")
    return row


def content_identity(source: str) -> list[tuple[str, str]]:
    """Return names and digests of a source's files: they change when, and only when, its content does."""
    _, root = open_uri(source)
    return [(file.removeprefix(root).strip("/"), file_digest_of(source, file)) for file in row_files(source)]


def _parquet_rows(
    filesystem: pyarrow.fs.FileSystem, file: str, columns: Collection[str]
) -> Iterator[tuple[int, Any]]:
    with filesystem.open_input_file(file) as stream:
        try:
            parquet = pq.ParquetFile(stream)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{file}: expected Parquet: {error}") from None
        if not set(columns) & set(parquet.schema_arrow.names):
            raise ValueError(f"{file} has no column {' or '.join(f'`{column}`' for column in columns)}")

        batches = (batch.to_pylist() for batch in parquet.iter_batches(1024))
        yield from enumerate(chain.from_iterable(batches))


def _json_rows(filesystem: pyarrow.fs.FileSystem, file: str) -> Iterator[tuple[int, Any]]:
    """Yield line number and row of JSON Lines, or place and row of a JSON array."""
    try:
        with filesystem.open_input_stream(file) as stream:
            first = stream.read(1 << 20)
            if first.startswith(_UTF16):
                raise ValueError(f"{file}: expected UTF-8, got UTF-16")
            first = first.removeprefix(_BYTE_ORDER_MARK)
            lines = _lines(first, stream)
            if first.lstrip().startswith(b"["):
                content = first + stream.read()
                rows = _parse(content)
                if isinstance(rows, list):
                    yield from enumerate(rows)
                    return
                lines = iter(content.split(b"\n"))  # JSON Lines, of which the first is a list

            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _parse(line)
    except OSError as error:  # a compressed file that was cut off
        raise ValueError(f"{file}: cannot be read: {error}") from None


def _lines(first: bytes, stream: pa.NativeFile) -> Iterator[bytes]:
    """Yield the lines, which end by a line feed alone: JSON may have U+2028 in its strings."""
    *lines, rest = first.split(b"\n")
    yield from lines
    while block := stream.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return error
