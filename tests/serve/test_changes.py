import json
from pathlib import Path

import pytest

from serve.changes import Changes, newest_change, read_changes, write_change
from teachers.texts import response_id

HELLO = response_id("hello")


def test_later_changes_override_earlier_ones(tmp_path: Path) -> None:
    run = tmp_path.as_uri()
    bye, hello_there = response_id("bye"), response_id("hello there")
    assert read_changes(run) == Changes()

    # The text of a withdrawn response is kept: it can be restored.
    added = {hello_there: "hello  there", bye: "bye"}
    write_change(run, ["hello  there", "bye"], ["0123"])
    write_change(run, withdraw=[bye])
    assert read_changes(run) == Changes(added, frozenset(["0123", bye]))

    write_change(run, ["bye"], [hello_there])
    assert read_changes(run) == Changes(added, frozenset(["0123", hello_there]))

    write_change(run, restore=[hello_there])
    assert read_changes(run) == Changes(added, frozenset(["0123"]))


def test_the_last_decision_about_a_response_is_its_state(tmp_path: Path) -> None:
    run, states = str(tmp_path), []
    for decision in ("approve", "withdraw", "approve", "restore", "withdraw", "restore"):
        write_change(run, **{decision: [HELLO]})
        states.append(read_changes(run).state(HELLO))

    assert states == ["approved", "withdrawn", "approved", "unreviewed", "withdrawn", "unreviewed"]
    assert read_changes(run).state("0123") == "unreviewed"


def test_an_approved_text_that_is_added_stays_approved(tmp_path: Path) -> None:
    write_change(str(tmp_path), approve=[HELLO])
    write_change(str(tmp_path), ["hello"])
    assert read_changes(str(tmp_path)).state(HELLO) == "approved"


def test_changes_from_before_there_were_reviews_are_read(tmp_path: Path) -> None:
    (tmp_path / "changes").mkdir()
    change = {"add": ["bye"], "withdraw": [HELLO]}
    (tmp_path / "changes" / "00000000000000000001-0.json").write_text(json.dumps(change))
    assert read_changes(str(tmp_path)) == Changes({response_id("bye"): "bye"}, frozenset([HELLO]))


def test_a_damaged_change_is_named(tmp_path: Path) -> None:
    write_change(str(tmp_path), ["hello"])
    [file] = (tmp_path / "changes").glob("*.json")
    file.write_text(file.read_text()[:5])
    with pytest.raises(ValueError, match=f"{file.name}: expected a change"):
        read_changes(str(tmp_path))


def test_an_unfinished_file_is_ignored(tmp_path: Path) -> None:
    write_change(str(tmp_path), ["hello"])
    (tmp_path / "changes" / "9.json.new").write_text('{"add": ["never')
    assert list(read_changes(str(tmp_path)).added.values()) == ["hello"]


def test_the_newest_change_is_named_after_it_is_there(tmp_path: Path) -> None:
    run = str(tmp_path)
    assert newest_change(run) is None

    newest: list[str | None] = []
    for text in ("hello", "bye"):
        write_change(run, [text])
        newest.append(newest_change(run))
        assert (tmp_path / "changes" / str(newest[-1])).is_file()
    assert newest[0] != newest[1]
    assert [*read_changes(run).added.values()] == ["hello", "bye"]  # the name itself is no change
