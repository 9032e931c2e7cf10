"""Folders that are a local path or any URI pyarrow opens (`s3://`, `gs://`, `file://`)."""

from pathlib import Path

from pyarrow import fs

from teachers.dataset import open_uri


def file_exists(uri: str) -> bool:
    """Whether a file lies at `uri`."""
    filesystem, path = open_uri(uri)
    return bool(filesystem.get_file_info(path).type == fs.FileType.File)


def copy_folder(folder: Path, uri: str | Path, last: str | None = None) -> None:
    """Copies a local folder to `uri`, its file `last` at the end: who finds that finds a complete folder."""
    filesystem, path = open_uri(str(uri))
    files = sorted(found for found in folder.rglob("*") if found.is_file())
    for file in sorted(files, key=lambda found: found == folder / (last or "")):
        target = f"{path}/{file.relative_to(folder).as_posix()}"
        filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        fs.copy_files(
            str(file),
            target,
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=filesystem,
        )
