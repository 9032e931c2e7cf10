"""The tables of the configs, in README.md and docs, say what the code says."""

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
            section, *nothing = get_args(field.annotation) or (None,)
            if nothing == [type(None)] and isinstance(section, type) and issubclass(section, BaseModel):
                yield from table_rows(section, f"{prefix}{name}.")


def defaults(model: type[BaseModel], field: FieldInfo) -> list[object]:
    """None for a required field; where the default hangs on `kind`, that of each kind in turn."""
    if field.is_required():
        return []
    if field.default_factory is None:
        return [field.default]
    if "kind" not in model.model_fields:
        return [field.get_default(call_default_factory=True)]
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


def table_of(document: str, number: int = 0) -> list[str]:
    """The lines of the document from one of its tables of keys on."""
    lines = (ROOT / document).read_text().splitlines()
    return lines[[place for place, line in enumerate(lines) if line == HEAD][number] + 2 :]


def test_the_table_has_every_key_with_its_default_and_meaning() -> None:
    rows = list(table_rows())
    assert table_of("README.md")[: len(rows) + 1] == [*rows, ""]


def test_the_synthesis_table_has_the_keys_that_only_a_synthesis_has() -> None:
    known = {*table_rows(), *table_rows(SearchConfig)}
    rows = [row for row in table_rows(SynthesisJobConfig) if row not in known]
    assert table_of("docs/synthesis.md")[: len(rows) + 1] == [*rows, ""]


def test_the_second_table_of_syntheses_has_the_keys_of_their_comparison() -> None:
    known = {*table_rows(), *table_rows(SearchConfig)}
    rows = [row for row in table_rows(TrainingSetsConfig) if row not in known]
    assert table_of("docs/synthesis.md", 1)[: len(rows) + 1] == [*rows, ""]


def test_the_searchs_table_has_the_keys_that_only_a_search_has() -> None:
    known = set(table_rows())
    rows = [row for row in table_rows(SearchConfig) if row not in known]
    assert table_of("docs/search.md")[: len(rows) + 1] == [*rows, ""]
