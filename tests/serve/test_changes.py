from pathlib import Path

import pytest

from serve.changes import Changes, read_changes, write_change
from serve.response_set import response_id


def test_later_changes_override_earlier_ones(tmp_path: Path) -> None:
    run = tmp_path.as_uri()
    assert read_changes(run) == Changes()

    write_change(run, ["hello  there", "bye"], ["0123"])
    write_change(run, [], [response_id("bye")])
    assert read_changes(run) == Changes(
        {response_id("hello there"): "hello  there"}, frozenset(["0123", response_id("bye")])
    )

    write_change(run, ["bye"], [response_id("hello there")])
    assert read_changes(run) == Changes(
        {response_id("bye"): "bye"}, frozenset(["0123", response_id("hello there")])
    )


def test_a_damaged_change_is_named(tmp_path: Path) -> None:
    write_change(str(tmp_path), ["hello"], [])
    [file] = (tmp_path / "changes").iterdir()
    file.write_text(file.read_text()[:5])
    with pytest.raises(ValueError, match=f"{file.name}: expected a change"):
        read_changes(str(tmp_path))


def test_an_unfinished_file_is_ignored(tmp_path: Path) -> None:
    write_change(str(tmp_path), ["hello"], [])
    (tmp_path / "changes" / "9.json.new").write_text('{"add": ["never')
    assert list(read_changes(str(tmp_path)).added.values()) == ["hello"]
