"""What a run asks of the store, beside what is there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachers.dataset import write_rows
from teachers.inference.missing_rows import RequestedKeys
from teachers.inference.store import content_key
from teachers.records import SAMPLES

KEYS = [content_key(number) for number in range(6)]


def _write(folder: Path, *batches: list[str]) -> str:
    """A store of a file for each batch."""
    for number, keys in enumerate(batches):
        rows = [{"key": key, "text": f"{number} {key}", "truncated": False} for key in keys]
        write_rows(str(folder / "scratch"), rows, SAMPLES)
        folder.joinpath("store").mkdir(exist_ok=True)
        (folder / "scratch/part-0.parquet").rename(folder / "store" / f"{number}.parquet")
    return str(folder / "store")


def test_a_key_is_missing_where_it_is_first_asked_for_and_not_stored(tmp_path: Path) -> None:
    store = _write(tmp_path, [KEYS[1]], [KEYS[5]])
    with RequestedKeys([KEYS[0], KEYS[1], KEYS[2], KEYS[0], KEYS[1], KEYS[3]]) as requested:
        assert list(requested.missing(store)) == [True, False, True, False, False, True]
        assert requested.planned(store) == (3, 1)
        assert list(requested.missing(str(tmp_path / "none"))) == [True, True, True, False, False, True]
        assert requested.planned(str(tmp_path / "none")) == (4, 0)


def test_a_row_comes_for_every_key_in_order_and_one_of_those_that_were_made_twice(tmp_path: Path) -> None:
    store = _write(tmp_path, KEYS[:3], KEYS[2:4])
    with RequestedKeys([KEYS[3], KEYS[0], KEYS[4], KEYS[2], KEYS[3]]) as requested:
        rows = list(requested.rows(store))
        assert list(requested.rows(str(tmp_path / "none"))) == [None] * 5
    assert [row and row["key"] for row in rows] == [KEYS[3], KEYS[0], None, KEYS[2], KEYS[3]]
    assert rows[1] == {"key": KEYS[0], "text": f"0 {KEYS[0]}", "truncated": False, "error": None}
    assert rows[3]["text"] in {f"0 {KEYS[2]}", f"1 {KEYS[2]}"}


def test_a_file_that_was_cut_off_is_no_part_of_the_store(tmp_path: Path) -> None:
    store = _write(tmp_path, KEYS[:2], KEYS[2:4])
    file = tmp_path / "store/1.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with RequestedKeys(KEYS[:4]) as requested:
        assert list(requested.missing(store)) == [False, False, True, True]


def test_nothing_is_asked(tmp_path: Path) -> None:
    store = _write(tmp_path, KEYS)
    with RequestedKeys([]) as requested:
        assert list(requested.missing(store)) == list(requested.rows(store)) == []
        assert requested.planned(store) == (0, 0)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, set[int]]]:
    """A store of every second of 10,000 keys."""
    stored = range(0, 10_000, 2)
    yield _write(tmp_path_factory.mktemp("half"), [content_key(number) for number in stored]), set(stored)


@settings(max_examples=10, deadline=None)
@given(numbers=st.lists(st.integers(0, 9_999), min_size=1), repeats=st.integers(1, 400))
def test_more_than_a_block_of_keys_is_as_a_dictionary_says(
    half: tuple[str, set[int]], numbers: list[int], repeats: int
) -> None:
    store, stored = half
    asked_for = [(number + step) % 10_000 for step in range(repeats) for number in numbers]
    seen: set[int] = set(stored)
    expected = [number not in seen and not seen.add(number) for number in asked_for]  # type: ignore[func-returns-value]
    keys = [content_key(number) for number in asked_for]
    with RequestedKeys(keys) as requested:
        assert list(requested.missing(store)) == expected
        rows = list(requested.rows(store))
    assert [row and row["key"] for row in rows] == [
        key if number in stored else None for key, number in zip(keys, asked_for, strict=True)
    ]
