"""What workers tell the job, in small files beside the run's datasets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from teachers.storage import list_names, make_empty_folder, make_folder, read_json, write_json


class Notes:
    """Small files by which a worker tells the job what its check showed, and why it can't work."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        make_folder(uri)

    def clear(self) -> None:
        make_empty_folder(self._uri)

    def read(self, name: str) -> Any:
        """What a note says; None where there is none."""
        return read_json(f"{self._uri}/{name}.json")

    def read_all(self) -> list[Any]:
        """What all notes say."""
        names = [name for name in list_names(self._uri) if name.endswith(".json")]
        notes = [self.read(name.removesuffix(".json")) for name in names]
        return [note for note in notes if note is not None]

    def write(self, name: str, content: Any) -> None:
        # Atomically: the job reads while a worker writes.
        write_json(f"{self._uri}/{name}.json", content)

    @contextmanager
    def of_failure(self) -> Iterator[None]:
        """Notes why the teacher can't work, for the job to show in one line."""
        try:
            yield
        except ValueError as error:
            self.write("failure", str(error))
            raise


def sanity_line(notes_uri: str) -> str | None:
    """What the teacher showed before its first row; None until it has."""
    line: str | None = Notes(notes_uri).read("check")
    return line
