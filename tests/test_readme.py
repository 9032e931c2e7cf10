"""The README's table of the config says what the code says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.config import JobConfig
from teachers.config import EndpointTeacher, SimilarityTeacher, VllmTeacher

README = Path(__file__).parents[1] / "README.md"


def table_rows(model: type[BaseModel] = JobConfig, prefix: str = "") -> Iterator[str]:
    """Key, default and meaning of every field, as lines of the table."""
    for name, field in model.model_fields.items():
        if name == "teachers":
            yield from teacher_rows()
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from table_rows(field.annotation, f"{prefix}{name}.")
        else:
            default = ", ".join("`" + json.dumps(value).strip('"') + "`" for value in defaults(model, field))
            meaning = " ".join((field.description or "").split())
            yield f"| `{prefix}{name}` | {default} | {meaning} |"


def defaults(model: type[BaseModel], field: FieldInfo) -> list[object]:
    """None for a required field; where the default hangs on `kind`, that of each kind in turn."""
    if field.is_required():
        return []
    if field.default_factory is None:
        return [field.default]
    kinds = get_args(model.model_fields["kind"].annotation)
    return [field.get_default(call_default_factory=True, validated_data={"kind": kind}) for kind in kinds]


def teacher_rows() -> Iterator[str]:
    """Every key of a vLLM teacher, then those by which the other kinds differ."""
    known = set(table_rows(VllmTeacher, "teachers.NAME."))
    yield from table_rows(VllmTeacher, "teachers.NAME.")
    for kind, model in (("similarity", SimilarityTeacher), ("endpoint", EndpointTeacher)):
        for row in table_rows(model, "teachers.NAME."):
            if row not in known:
                key, rest = row.removeprefix("| ").split(" | ", 1)
                yield f"| {key} ({kind}) | {rest}"


def test_the_table_has_every_key_with_its_default_and_meaning() -> None:
    lines = README.read_text().splitlines()
    start = lines.index("| key | default | meaning |") + 2
    rows = list(table_rows())
    assert lines[start : start + len(rows) + 1] == [*rows, ""]
