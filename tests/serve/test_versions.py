from pathlib import Path

import pytest

from serve.versions import check_version, current_version, local_version, make_current, versions


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Two complete versions and an unfinished one."""
    for name in ("1", "2", "3"):
        (tmp_path / "index" / name).mkdir(parents=True)
    for name in ("1", "2"):
        (tmp_path / "index" / name / "index.json").write_text("{}")
    return str(tmp_path)


def test_only_complete_versions_count(run: str) -> None:
    assert versions(run) == ["1", "2"]
    assert check_version(run) == "2"
    assert check_version(run, "1") == "1"
    with pytest.raises(ValueError, match=r"no complete index '3'; it has 1, 2"):
        check_version(run, "3")


def test_a_run_without_versions_is_refused(tmp_path: Path) -> None:
    assert versions(str(tmp_path)) == []
    with pytest.raises(ValueError, match="no complete index"):
        check_version(str(tmp_path))


def test_replicas_load_the_newest_until_another_is_made_current(run: str) -> None:
    assert current_version(run) == "2"
    make_current(run, "1")
    assert current_version(run) == "1"
    assert versions(run) == ["1", "2"]


def test_a_local_version_is_used_in_place(run: str) -> None:
    assert local_version(run, "1") == Path(run) / "index" / "1"
