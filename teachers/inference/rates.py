"""How fast teachers and trainings are: the last measurement of each, in the store beside what they made."""

from typing import Any

from teachers.config import TeacherConfig
from teachers.inference.store import content_key
from teachers.inference.tasks import Made, Task
from teachers.storage import read_json, write_json


def teacher_rate_uri(store: str, teacher: TeacherConfig, task: Task) -> str:
    """Return where the rate of one replica lies: it depends on the hardware, too."""
    settings = teacher.model_dump(mode="json", exclude={"replicas"})
    return rate_uri(store, settings, task.name, task.max_tokens)


def rate_uri(store: str, *settings: Any) -> str:
    """Return where the rate of whatever has these settings lies."""
    return f"{store}/rates/{content_key(*settings)}.json"


def write_rate(uri: str, made: Made) -> None:
    """Keep a measurement, unless nothing was made."""
    if made.num_rows > 0 and made.seconds > 0:
        write_json(uri, {"rows_per_s": made.num_rows / made.seconds})


def read_rate(uri: str) -> float | None:
    """Return the rows a second of the last measurement; None where there is none."""
    content = read_json(uri)
    return None if content is None else float(content["rows_per_s"])
