"""Folders that are a local path or any URI pyarrow opens (`s3://`, `gs://`, `file://`)."""

from pathlib import Path

from pyarrow import fs

from teachers.records import open_uri


def file_exists(uri: str) -> bool:
    """Whether a file lies at `uri`."""
    filesystem, path = open_uri(uri)
    return bool(filesystem.get_file_info(path).type == fs.FileType.File)


def publish_folder(folder: Path, uri: str, last: str) -> None:
    """Copies the files of `folder` to `uri`, the one named `last` at the end.

    An older `last` is deleted first, so whoever finds it there finds a complete folder.
    """
    filesystem, path = open_uri(uri)
    filesystem.create_dir(path, recursive=True)
    if filesystem.get_file_info(f"{path}/{last}").type == fs.FileType.File:
        filesystem.delete_file(f"{path}/{last}")
    for name in [*sorted(file.name for file in folder.iterdir() if file.name != last), last]:
        fs.copy_files(
            str(folder / name),
            f"{path}/{name}",
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=filesystem,
        )
