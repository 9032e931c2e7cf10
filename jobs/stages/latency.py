"""How long one answer takes: of each generative teacher in its actor, and of the student over HTTP."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jobs.execution.run_directory import RunDirectory
from jobs.stages.teacher_inference import time_answers
from serve.latency import Route, answer_latencies_ms
from teachers.config import TeacherConfig, VllmTeacher
from teachers.corpora.conversations import Message
from teachers.generation.config import GenerateConfig
from teachers.generation.latency import latencies_ms
from teachers.inference.store import Row

_TEACHERS_SHARE_OF_REQUESTS = 5


def vllm_teachers(teachers: Mapping[str, TeacherConfig]) -> dict[str, VllmTeacher]:
    """Those whose time is this machine's."""
    return {name: teacher for name, teacher in teachers.items() if isinstance(teacher, VllmTeacher)}


def time_all(
    run: RunDirectory,
    teachers: dict[str, VllmTeacher],
    asked: list[Row],
    config: GenerateConfig,
    served: str,
    conversations: Iterable[list[Message]],
    route: Route,
) -> dict[str, Any]:
    """`p50_ms`, `p95_ms` and `requests` of the `teachers` by name, and of the `student` of the run `served`.

    One after the other, all in one go, so that they are measured on the same machine in the same state. A
    teacher is asked the first fifth of `asked`, rows of EXAMPLES.
    """
    few = asked[: max(2, len(asked) // _TEACHERS_SHARE_OF_REQUESTS)]
    timed = time_answers(run, teachers, few, config)
    student = answer_latencies_ms(served, list(conversations), route)
    return {
        "teachers": {name: _summary(latencies_ms(uri)) for name, uri in timed.items()},
        "student": _summary(student),
    }


def _summary(latencies: list[float]) -> dict[str, float] | None:
    """Of latencies in milliseconds; None where there is none."""
    if not latencies:
        return None
    p50, p95 = np.percentile(latencies, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "requests": len(latencies)}
