"""Files of rows as users have them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from teachers.corpora.row_files import content_identity, read_files

ROWS: list[dict[str, Any]] = [{"messages": [number]} for number in range(3)]
LINES = "\n".join(map(json.dumps, ROWS)).encode()


def rows_of(source: Path) -> list[Any]:
    return [row for _, row in read_files(str(source), ["messages"])]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", b"\xef\xbb\xbf" + LINES + b"\n\n"),
        ("a.json", b"  " + json.dumps(ROWS).encode()),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.jsonl.zst", bytes(pa.compress(LINES, codec="zstd", asbytes=True))),
    ],
)
def test_rows_are_read_from_files_of_several_forms(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert rows_of(tmp_path) == rows_of(tmp_path / name) == ROWS


def test_files_of_one_name_in_two_folders_have_rows_of_two_names(tmp_path: Path) -> None:
    for language in ("de", "en"):
        (tmp_path / language).mkdir()
        (tmp_path / language / "train-0.jsonl").write_bytes(LINES)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "more.parquet")
    names = [name for name, _ in read_files(str(tmp_path), ["messages"])]
    assert names[:4] == [
        "de/train-0.jsonl:1",
        "de/train-0.jsonl:2",
        "de/train-0.jsonl:3",
        "en/train-0.jsonl:1",
    ]
    assert names[-3:] == ["more.parquet:0", "more.parquet:1", "more.parquet:2"]


def test_files_of_other_names_are_passed_over_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in (
        ("a.jsonl", LINES),
        ("_SUCCESS", b""),
        (".a.jsonl.crc", b"x"),
        ("notes.csv", b"a,b"),
    ):
        (tmp_path / name).write_bytes(content)
    with caplog.at_level("INFO"):
        assert rows_of(tmp_path) == rows_of(tmp_path) == ROWS
    assert caplog.messages == [f"{tmp_path}: files passed over for their names: 1, such as notes.csv"]


def test_a_line_separator_within_a_string_ends_no_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": ["one\u2028two\x85"]}\n', encoding="utf-8")
    assert rows_of(tmp_path) == [{"messages": ["one\u2028two\x85"]}]


def test_a_row_that_is_nested_too_deeply_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"[" * 100_000 + b"\n" + LINES)
    first, *others = rows_of(tmp_path)
    assert isinstance(first, RecursionError) and others == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", gzip.compress(LINES * 100, mtime=0)[:-20], r"a\.jsonl\.gz: cannot be read: "),
        ("a.jsonl", LINES.decode().encode("utf-16"), r"a\.jsonl: expected UTF-8, got UTF-16"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet: expected Parquet: "),
        ("a.csv", b"a,b", r"expected files that end in \.parquet, \.jsonl, .*, got none"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        rows_of(tmp_path)


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.jsonl").write_bytes(LINES)
    here, there = (content_identity(str(tmp_path / place)) for place in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "a.jsonl").write_bytes(LINES.replace(b"2", b"3"))
    assert content_identity(str(tmp_path / "there")) != here
