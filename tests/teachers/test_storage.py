import gzip
import hashlib
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from teachers.dataset import read_rows, write_rows
from teachers.storage import (
    copy_folder,
    delete_folder,
    file_digest,
    file_exists,
    folder_exists,
    list_names,
    local_folder,
    make_empty_folder,
    path_exists,
    read_json,
    read_text,
    without_credentials,
    write_atomically,
    write_json,
    write_text,
)
from tests.s3_server import faulty_bucket


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/runs/first", "s3://bucket/runs/first"),
        ('{"a": "https://me:pw@host/v1", "b": 1}', '{"a": "https://host/v1", "b": 1}'),
        ("s3://bucket/run?access_key=KEY&secret_key=S/+=&region=eu", "s3://bucket/run?region=eu"),
        ("make serve 'RUN=s3://bucket/run?secret_key=S'", "make serve 'RUN=s3://bucket/run?'"),
        ("write to me@example.org, s3://bucket/me@home", "write to me@example.org, s3://bucket/me@home"),
    ],
)
def test_credentials_are_taken_out_of_uris(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


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


def test_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    write_text(f"{tmp_path}/folder/file", "text")
    file, folder, absent = f"{tmp_path}/folder/file", f"{tmp_path}/folder", f"{tmp_path}/absent"

    assert [file_exists(uri) for uri in (file, folder, absent)] == [True, False, False]
    assert [folder_exists(uri) for uri in (file, folder, absent)] == [False, True, False]
    assert [path_exists(uri) for uri in (file, folder, absent)] == [True, True, False]


def test_text_and_json_are_read_as_written_and_an_absent_file_is_none(tmp_path: Path) -> None:
    uri = tmp_path.as_uri()
    write_text(f"{uri}/new/text", "é\n")
    write_json(f"{uri}/new/json", {"key": [1, None]})
    (tmp_path / "packed.gz").write_bytes(gzip.compress(b"packed"))

    assert read_text(f"{uri}/new/text") == "é\n"
    assert read_json(f"{uri}/new/json") == {"key": [1, None]}
    assert read_text(f"{uri}/packed.gz") == "packed"
    assert read_text(f"{uri}/absent") is None and read_json(f"{uri}/absent") is None
    assert read_text(f"{uri}/new") is None


def test_a_failed_write_keeps_the_earlier_file(tmp_path: Path) -> None:
    write_text(f"{tmp_path}/file", "earlier")

    with pytest.raises(ZeroDivisionError), write_atomically(f"{tmp_path}/file") as stream:
        stream.write(b"half of the ")
        raise ZeroDivisionError

    assert read_text(f"{tmp_path}/file") == "earlier"


def test_an_unfinished_dataset_is_not_read(tmp_path: Path) -> None:
    schema = pa.schema([("number", pa.int64())])
    write_rows(str(tmp_path), [{"number": 1}], schema)

    with pytest.raises(pa.ArrowInvalid):
        write_rows(str(tmp_path), [{"number": 2}, {"number": "three"}], schema)

    assert read_rows(str(tmp_path)) == [{"number": 1}]
    assert len(list_names(str(tmp_path))) == 1


def test_an_empty_folder_replaces_what_was_there(tmp_path: Path) -> None:
    uri = f"{tmp_path}/folder"
    write_text(f"{uri}/b", "")
    write_text(f"{uri}/a/c", "")
    assert list_names(uri) == ["a", "b"]

    make_empty_folder(uri)
    assert folder_exists(uri) and list_names(uri) == []

    delete_folder(uri)
    delete_folder(uri)
    assert not path_exists(uri) and list_names(uri) == []


def test_a_files_digest_is_the_hash_of_its_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")

    assert file_digest(file) == hashlib.sha256(b"content").hexdigest()
    blake = partial(hashlib.blake2b, digest_size=16)
    assert file_digest(file, blake) == hashlib.blake2b(b"content", digest_size=16).hexdigest()


def test_a_file_of_a_bucket_is_written_by_one_request_or_not_at_all() -> None:
    with faulty_bucket() as bucket:
        write_text(bucket.at("folder/file"), "earlier")
        assert bucket.requests == ["PUT"]

        with pytest.raises(ZeroDivisionError), write_atomically(bucket.at("folder/file")) as stream:
            stream.write(b"half of the ")
            raise ZeroDivisionError
        assert read_text(bucket.at("folder/file")) == "earlier"
        assert list_names(bucket.at("folder")) == ["file"]
        assert read_text(bucket.at("folder/absent")) is None


@pytest.mark.faults
def test_a_bucket_that_fails_for_a_while_is_asked_again() -> None:
    with faulty_bucket() as bucket:
        bucket.failures = 4  # pyarrow itself gives up after three
        write_text(bucket.at("file"), "text")
        assert (len(bucket.requests), bucket.failures) == (5, 0)
        assert read_text(bucket.at("file")) == "text"


def test_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with write_atomically(f"{tmp_path}/file") as one, write_atomically(f"{tmp_path}/file") as other:
        one.write(b"of one")
        other.write(b"of the other")
    assert read_text(f"{tmp_path}/file") == "of one"
    assert list_names(str(tmp_path)) == ["file"]
