"""The store: what teachers made, kept by what made it, and shared by every run that points at it.

    STORE/samples/MODEL-HASH/*.parquet   rows of SAMPLES; HASH is of the weights and sampling settings
    STORE/pairs/MODEL-HASH/*.parquet     rows of PAIR_SCORES; HASH is of the weights and scoring settings
    STORE/models/MODEL-HASH/             a fine-tuned teacher; HASH is of the weights and what it learned

Each finished batch is a file of its own. A file is complete once Parquet's footer is written: one that was
cut off is not read, and its rows are made again.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import pyarrow.dataset

from teachers.config import (
    RESOURCES,
    EndpointTeacher,
    GenerateConfig,
    SimilarityTeacher,
    TeacherConfig,
    VllmTeacher,
)
from teachers.engines.weights import vector_settings, weights_identity
from teachers.storage import open_uri, path_exists

Row = dict[str, Any]
# These decide how many samples there are, how they are batched and which are asked for: not what one is.
_NOT_SAMPLING = {"contexts", "samples", "batch_size"}
# A sample's key has its own system prompt; the check accepts or refuses a teacher as a whole, and what
# makes an engine or a connection fast changes nothing that it says.
_NOT_SAID = {
    "prompt_variants",
    "revision",  # the identity of the weights has the commit
    "max_sane_loss",
    "kv_cache_gib",
    "concurrency",
    "request_timeout_s",
    "max_retries",
    "api_key_env",
    *RESOURCES,
}


def content_key(*parts: Any) -> str:
    """32 hexadecimal digits that stand for `parts`."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def rows_key(rows: Iterable[Row]) -> str:
    """32 hexadecimal digits that stand for all of `rows`, in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=True).encode())
    return digest.hexdigest()[:32]


def samples_uri(store: str, teacher: TeacherConfig, config: GenerateConfig) -> str:
    """Where a teacher's samples under these settings lie."""
    settings = teacher.model_dump(exclude=_NOT_SAID | {"system_prompt", "tokenizer"})
    return _folder(store, "samples", teacher, settings, config.model_dump(exclude=_NOT_SAMPLING))


def model_uri(store: str, teacher: VllmTeacher, *learned: Any) -> str:
    """Where the teacher lies after it `learned` that."""
    template = [teacher.chat_template_kwargs] if teacher.chat_template_kwargs else []
    key = content_key(weights_identity(teacher.model, teacher.revision), *learned, *template)
    return f"{store}/models/{_name(teacher)}-{key[:16]}"


def pairs_uri(store: str, teacher: TeacherConfig) -> str:
    """Where a teacher's scores lie."""
    return _folder(store, "pairs", teacher, teacher.model_dump(exclude=_NOT_SAID))


def _folder(
    store: str, kind: str, teacher: TeacherConfig, teacher_settings: dict[str, Any], *others: dict[str, Any]
) -> str:
    # A section that is empty is left out: what was made before there was such a section is still found.
    settings = [{key: value for key, value in teacher_settings.items() if value != {}}, *others]
    if not isinstance(teacher, EndpointTeacher):
        # Under another name or in another folder the same weights are the same teacher.
        settings[0]["model"] = weights_identity(teacher.model, teacher.revision)
    if isinstance(teacher, SimilarityTeacher):
        settings[0] |= vector_settings(teacher.model, teacher.revision)
    if isinstance(teacher, EndpointTeacher) and settings[0].get("tokenizer"):
        settings[0]["tokenizer"] = weights_identity(settings[0]["tokenizer"])
    if isinstance(teacher, VllmTeacher) and teacher.num_gpus > 1:
        settings[0]["num_gpus"] = teacher.num_gpus  # tensor parallelism adds in another order
    return f"{store}/{kind}/{_name(teacher)}-{content_key(*settings)[:16]}"


def _name(teacher: TeacherConfig) -> str:
    return re.sub(r"[^\w.-]+", "-", teacher.model.rstrip("/").rsplit("/", 1)[-1]).lower()


def open_store(uri: str) -> pyarrow.dataset.Dataset | None:
    """The rows that are there; None where there is none."""
    if not path_exists(uri):
        return None
    filesystem, path = open_uri(uri)
    dataset = pyarrow.dataset.dataset(
        path, filesystem=filesystem, format="parquet", exclude_invalid_files=True
    )
    return dataset if "key" in dataset.schema.names else None  # not one complete file yet
