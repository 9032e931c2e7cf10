"""How long one answer takes: of each generative teacher in its actor, and of the student over HTTP."""

from collections.abc import Iterable, Mapping

from jobs.execution.run_directory import RunDirectory
from jobs.stages.teacher_inference import time_answers
from serve.latency import Route, answer_latencies_ms
from teachers.config import GenerateConfig, TeacherConfig, VllmTeacher
from teachers.corpora.conversations import Message
from teachers.generation.latency import Times, latencies_ms, response_times
from teachers.inference.store import Row

_TEACHERS_SHARE_OF_REQUESTS = 5


def vllm_teachers(teachers: Mapping[str, TeacherConfig]) -> dict[str, VllmTeacher]:
    """Return the teachers whose time is this machine's."""
    return {name: teacher for name, teacher in teachers.items() if isinstance(teacher, VllmTeacher)}


def time_teachers(
    run: RunDirectory, teachers: dict[str, VllmTeacher], requests: list[Row], config: GenerateConfig
) -> dict[str, Times | None]:
    """Return the times of each teacher for the first fifth of `requests`, rows of EXAMPLES."""
    few = requests[: max(2, len(requests) // _TEACHERS_SHARE_OF_REQUESTS)]
    uris = time_answers(run, teachers, few, config)
    return {name: response_times(latencies_ms(uri)) for name, uri in uris.items()}


def time_student(run_uri: str, conversations: Iterable[list[Message]], route: Route) -> Times | None:
    """Return the times of the student of a run over HTTP, one request at a time."""
    return response_times(answer_latencies_ms(run_uri, list(conversations), route))
