from pathlib import Path

from serve.folders import file_exists, publish_folder
from teachers.records import local_folder


def test_a_local_folder_is_used_in_place(tmp_path: Path) -> None:
    assert local_folder(str(tmp_path), tmp_path / "scratch") == tmp_path
    assert local_folder(tmp_path.as_uri(), tmp_path / "scratch") == tmp_path


def test_publishing_replaces_the_file_that_completes_a_folder(tmp_path: Path) -> None:
    built, published = tmp_path / "built", tmp_path / "published"
    built.mkdir()
    for text in ("old", "new"):
        (built / "a").write_text(text)
        (built / "done").write_text(text)
        publish_folder(built, published.as_uri(), last="done")
        assert (published / "a").read_text() == (published / "done").read_text() == text
    assert file_exists(f"{published.as_uri()}/done")
    assert not file_exists(str(published / "b"))
