"""The tables of the configs in README.md and docs agree with the code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobs.conversational_search.config import SearchConfig
from jobs.distillation.config import DistillationConfig
from jobs.synthesis.config import SynthesisJobConfig
from jobs.training_sets.config import TrainingSetsConfig
from teachers.config import EndpointTeacher, SimilarityTeacher, VllmTeacher

ROOT = Path(__file__).parents[1]
HEAD = "| key | default | meaning |"


def table_rows(model: type[BaseModel] = DistillationConfig, prefix: str = "") -> Iterator[str]:
    """Yield each field's key, default and meaning as a line of the table."""
    for name, field in model.model_fields.items():
        if name == "teachers":
            yield from teacher_rows()
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from table_rows(field.annotation, f"{prefix}{name}.")
        else:
            default = ", ".join("`" + json.dumps(value).strip('"') + "`" for value in defaults(model, field))
            meaning = " ".join((field.description or "").split())
            yield f"| `{prefix}{name}` | {default} | {meaning} |"

            # A section that may be absent has a row of its own, then those of its keys.
            section, *others = get_args(field.annotation) or (None,)
            if others == [type(None)] and isinstance(section, type) and issubclass(section, BaseModel):
                yield from table_rows(section, f"{prefix}{name}.")


def defaults(model: type[BaseModel], field: FieldInfo) -> list[object]:
    """The default, or one per kind where it depends on `kind`; none for a required field."""
    if field.is_required():
        return []
    if field.default_factory is None:
        return [field.default]
    if "kind" not in model.model_fields:
        return [field.get_default(call_default_factory=True)]
    kinds = get_args(model.model_fields["kind"].annotation)
    return [field.get_default(call_default_factory=True, validated_data={"kind": kind}) for kind in kinds]


def teacher_rows() -> Iterator[str]:
    """Yield every key of a vLLM teacher, then those in which the other kinds differ."""
    vllm_rows = set(table_rows(VllmTeacher, "teachers.NAME."))
    yield from table_rows(VllmTeacher, "teachers.NAME.")
    for kind, model in (("similarity", SimilarityTeacher), ("endpoint", EndpointTeacher)):
        for row in table_rows(model, "teachers.NAME."):
            if row not in vllm_rows:
                key, rest = row.removeprefix("| ").split(" | ", 1)
                yield f"| {key} ({kind}) | {rest}"


def table_of(document: str, number: int = 0) -> list[str]:
    """The lines of the document from the rows of one of its key tables on."""
    lines = (ROOT / document).read_text().splitlines()
    heads = [row for row, line in enumerate(lines) if line == HEAD]
    return lines[heads[number] + 2 :]


def test_the_table_has_every_key_with_its_default_and_meaning() -> None:
    rows = list(table_rows())
    assert table_of("README.md")[: len(rows) + 1] == [*rows, ""]


def test_the_synthesis_table_has_the_keys_of_a_synthesis_alone() -> None:
    shared = {*table_rows(), *table_rows(SearchConfig)}
    rows = [row for row in table_rows(SynthesisJobConfig) if row not in shared]
    assert table_of("docs/synthesis.md")[: len(rows) + 1] == [*rows, ""]


def test_the_second_table_of_synthesis_has_the_keys_of_training_sets() -> None:
    shared = {*table_rows(), *table_rows(SearchConfig)}
    rows = [row for row in table_rows(TrainingSetsConfig) if row not in shared]
    assert table_of("docs/synthesis.md", 1)[: len(rows) + 1] == [*rows, ""]


def test_the_table_of_search_has_the_keys_of_a_search_alone() -> None:
    shared = set(table_rows())
    rows = [row for row in table_rows(SearchConfig) if row not in shared]
    assert table_of("docs/search.md")[: len(rows) + 1] == [*rows, ""]
