"""Files and folders at a local path or at any URI that pyarrow opens (`s3://`, `gs://`, `file://`)."""

import hashlib
import json
import logging
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

# USER:PASSWORD@ of a URL, and the parameters in which pyarrow takes keys.
_CREDENTIALS = re.compile(
    r"(?<=://)[^/@\s\"]+@|(?<=[?&])(?:access_key|secret_key|session_token)=[^&\s\"']*&?"
)


def without_credentials(text: str) -> str:
    """Return a text, such as JSON or a command, with its URIs as they may be shown and kept."""
    return _CREDENTIALS.sub("", text)


class WithoutCredentials(logging.Filter):
    """Takes the credentials of URIs out of every line, tracebacks included, that it is put before."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and let it pass."""
        record.msg, record.args = without_credentials(record.getMessage()), None
        if record.exc_info:
            record.exc_text = without_credentials(logging.Formatter().formatException(record.exc_info))
        return True


# With pauses of up to 20 s between them: a request of S3 fails after some two minutes.
_S3_ATTEMPTS = 14


def open_uri(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return the filesystem of a URI or local path, and the path in it."""
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        bucket = parts.netloc.rpartition("@")[2]
        return _s3(f"s3://{parts.netloc}?{parts.query}"), unquote(bucket + parts.path.rstrip("/"))
    filesystem, path = pyarrow.fs.FileSystem.from_uri(uri if "://" in uri else Path(uri).resolve().as_uri())
    return filesystem, path


@cache
def _s3(bucket_uri: str) -> pyarrow.fs.S3FileSystem:
    """Return the bucket's filesystem, which repeats failed requests for longer than pyarrow's default."""
    filesystem, _ = pyarrow.fs.FileSystem.from_uri(bucket_uri)
    # A URI has no parameters for these; the arguments of the copy are those that pickle gets.
    _, [arguments] = filesystem.__reduce__()
    arguments["retry_strategy"] = pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=_S3_ATTEMPTS)
    arguments["allow_delayed_open"] = True  # one request for a small file, in place of three
    return pyarrow.fs.S3FileSystem(**arguments)


def absolute(uri: str) -> str:
    """Return a URI as it is, a local path from the root: workers have another working directory."""
    return uri if "://" in uri else str(Path(uri).resolve())


def file_exists(uri: str) -> bool:
    """Whether a file lies at `uri`."""
    return bool(_file_type(uri) == pyarrow.fs.FileType.File)


def folder_exists(uri: str) -> bool:
    """Whether a folder lies at `uri`."""
    return bool(_file_type(uri) == pyarrow.fs.FileType.Directory)


def path_exists(uri: str) -> bool:
    """Whether a file or a folder lies at `uri`."""
    return bool(_file_type(uri) != pyarrow.fs.FileType.NotFound)


def _file_type(uri: str) -> pyarrow.fs.FileType:
    filesystem, path = open_uri(uri)
    return filesystem.get_file_info(path).type


def read_bytes(uri: str) -> bytes | None:
    """Return a file's content, decompressed by its name (`.gz`); None where there is no file."""
    filesystem, path = open_uri(uri)
    if filesystem.get_file_info(path).type != pyarrow.fs.FileType.File:
        return None

    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def read_text(uri: str) -> str | None:
    """Return the content of a UTF-8 file; None where there is no file."""
    content = read_bytes(uri)
    return None if content is None else content.decode()


def read_json(uri: str) -> Any:
    """Return the content of a JSON file; None where there is no file."""
    content = read_bytes(uri)
    return None if content is None else json.loads(content)


@contextmanager
def write_atomically(uri: str) -> Iterator[pa.NativeFile]:
    """Yield a stream whose bytes replace the file at `uri` once the body ends without an error.

    Until then they lie beside it under a hidden name of their own, which is not read as part of a dataset. In
    a bucket, where a file appears as a whole, they lie on this machine until then.
    """
    filesystem, path = open_uri(uri)
    if isinstance(filesystem, pyarrow.fs.S3FileSystem):
        with _uploaded(filesystem, path) as stream:
            yield stream
        return

    folder, _, name = path.rpartition("/")
    unfinished = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.unfinished"
    filesystem.create_dir(folder, recursive=True)
    try:
        with filesystem.open_output_stream(unfinished, compression=None) as stream:
            yield stream
        filesystem.move(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):  # it could not be opened, which is the error to tell
            filesystem.delete_file(unfinished)
        raise


@contextmanager
def _uploaded(filesystem: pyarrow.fs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """Yield a stream into a local file, which is uploaded once the body ends without an error."""
    with tempfile.NamedTemporaryFile(prefix="rejoinder-upload-") as file:
        with pa.OSFile(file.name, "wb") as stream:
            yield stream
        with filesystem.open_output_stream(path, compression=None) as upload:
            shutil.copyfileobj(file, upload, 1 << 20)


def write_text(uri: str, content: str) -> None:
    """Replace the file at `uri` by the text as UTF-8."""
    with write_atomically(uri) as stream:
        stream.write(content.encode())


def write_json(uri: str, content: Any, indent: int | None = None) -> None:
    """Replace the file at `uri` by the content as JSON."""
    write_text(uri, json.dumps(content, indent=indent))


def list_names(uri: str) -> list[str]:
    """Return the sorted names of the files and folders in a folder; an absent folder has none."""
    filesystem, path = open_uri(uri)
    entries = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    return sorted(entry.base_name for entry in entries)


def make_folder(uri: str) -> None:
    """Make a folder, and those above it, unless it is there."""
    filesystem, path = open_uri(uri)
    filesystem.create_dir(path, recursive=True)


def make_empty_folder(uri: str) -> None:
    """Make a folder in the place of what lies there."""
    delete_folder(uri)
    make_folder(uri)


def delete_folder(uri: str) -> None:
    """Delete a folder with all that is in it; an absent one is no error."""
    filesystem, path = open_uri(uri)
    if filesystem.get_file_info(path).type == pyarrow.fs.FileType.Directory:
        filesystem.delete_dir(path)


def delete_file(uri: str) -> None:
    """Delete a file, which has to be there."""
    filesystem, path = open_uri(uri)
    filesystem.delete_file(path)


def copy_folder(folder: Path, uri: str | Path, last: str | None = None) -> None:
    """Copy a local folder to `uri`, its file `last` at the end: it marks a complete copy."""
    filesystem, path = open_uri(str(uri))
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    files.sort(key=lambda file: file == folder / (last or ""))

    for file in files:
        target = f"{path}/{file.relative_to(folder).as_posix()}"
        filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        pyarrow.fs.copy_files(
            str(file),
            target,
            source_filesystem=pyarrow.fs.LocalFileSystem(),
            destination_filesystem=filesystem,
        )


def local_folder(uri: str, scratch: Path) -> Path:
    """Return `uri` itself where it is a local folder, else a local copy under `scratch`."""
    filesystem, path = open_uri(uri)
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return Path(path)

    target = scratch / Path(path).name
    target.mkdir(parents=True)
    pyarrow.fs.copy_files(path, str(target), source_filesystem=filesystem)
    return target


def file_digest(file: Path, algorithm: str | Callable[[], Any] = "sha256") -> str:
    """Return the hexadecimal digest of a local file, by the name or the constructor of a hash."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def file_digest_of(uri: str, path: str) -> str:
    """Return the SHA-256 of the file at `path` of the URI's filesystem; of a bucket, of its size and time."""
    filesystem, _ = open_uri(uri)
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return file_digest(Path(path))
    info = filesystem.get_file_info(path)
    return hashlib.sha256(f"{info.size} {info.mtime_ns}".encode()).hexdigest()
