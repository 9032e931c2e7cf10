from pathlib import Path

from serve.folders import copy_folder, file_exists
from teachers.dataset import local_folder


def test_a_local_folder_is_used_in_place(tmp_path: Path) -> None:
    assert local_folder(str(tmp_path), tmp_path / "scratch") == tmp_path
    assert local_folder(tmp_path.as_uri(), tmp_path / "scratch") == tmp_path


def test_a_folder_is_copied_with_all_below_it(tmp_path: Path) -> None:
    built, copied = tmp_path / "built", tmp_path / "copied"
    (built / "below").mkdir(parents=True)
    for name in ("a", "done", "below/b"):
        (built / name).write_text(name)
    copy_folder(built, copied.as_uri(), last="done")
    for name in ("a", "done", "below/b"):
        assert (copied / name).read_text() == name
        assert file_exists(f"{copied.as_uri()}/{name}")
    assert not file_exists(str(copied / "below"))
