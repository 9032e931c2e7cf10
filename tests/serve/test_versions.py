from pathlib import Path

import pytest

from serve.versions import check_version, current_version, local_version, make_current, versions
from teachers.storage import open_uri, write_text
from tests.s3_server import faulty_bucket


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


@pytest.mark.parametrize("names", [[], ["1", "2"]])
def test_a_run_is_named_without_its_credentials(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.versions.versions", lambda run: names)
    with pytest.raises(ValueError, match=r": s3://bucket/run has no complete index") as error:
        check_version("s3://KEY:SECRET@bucket/run", "3")
    assert "SECRET" not in str(error.value)


def test_replicas_load_the_newest_until_another_is_made_current(run: str) -> None:
    assert current_version(run) == "2"
    make_current(run, "1")
    assert current_version(run) == "1"
    assert versions(run) == ["1", "2"]


def test_a_local_version_is_used_in_place(run: str) -> None:
    assert local_version(run, "1") == Path(run) / "index" / "1"


def test_copies_of_a_bucket_are_those_of_the_run_and_the_two_used_last_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with faulty_bucket() as bucket:
        filesystem, _ = open_uri(bucket.at(""))
        monkeypatch.setattr("teachers.storage._s3", lambda _: filesystem)
        for run in ("one", "other"):
            for version in ("1", "2", "3"):
                write_text(f"s3://runs/{run}/index/{version}/index.json", f"{run} {version}")

        copies = [local_version("s3://runs/one", version) for version in ("1", "2", "1", "3")]
        assert [copy.is_dir() for copy in copies] == [True, False, True, True]
        assert (copies[3] / "index.json").read_text() == "one 3"
        other = local_version("s3://runs/other", "3")
        assert (other / "index.json").read_text() == "other 3"
        assert copies[3].is_dir()
