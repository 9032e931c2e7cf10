"""Licences and public names of models, conversations and documents, for the cards of models and data sets."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import yaml

from teachers.packaged_models import PACKAGED_MODELS

SERVED_ELSEWHERE = "served elsewhere; its terms apply"

# As the package says.
_CORPUS_LICENCES = {"chitchat-dataset": "MIT"}


def licences_of_teachers(teachers: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """The licence of every model of `teachers` in a resolved config; None: unknown."""
    licences = {}
    for teacher in teachers.values():
        is_remote = teacher["kind"] == "endpoint"
        licences[teacher["model"]] = SERVED_ELSEWHERE if is_remote else licence_of(teacher["model"])
    return licences


def licence_of(model: str) -> str | None:
    """What a package, or the README.md of a folder or of a cached Hugging Face model, says; None: unknown."""
    if model in PACKAGED_MODELS:
        return PACKAGED_MODELS[model].licence
    if model in _CORPUS_LICENCES:
        return _CORPUS_LICENCES[model]

    readme: Any = Path(model) / "README.md"
    if not Path(model).is_dir() and _is_hub_id(model):
        readme = huggingface_hub.try_to_load_from_cache(model, "README.md")
    if not isinstance(readme, str | Path) or not Path(readme).is_file():
        return None

    try:
        front_matter = huggingface_hub.metadata_load(readme) or {}
    except (ValueError, yaml.YAMLError):  # another author's file, which may be malformed
        return None
    licence = front_matter.get("license")
    licence = front_matter.get("license_name", licence) if licence == "other" else licence
    return ", ".join(licence) if isinstance(licence, list) else licence


def shown_name(name: str) -> str:
    """A packaged name or a Hub id as it is; the last part of a path or URI, which is private."""
    return name if hub_id(name) else name.rstrip("/").rsplit("/", 1)[-1]


def hub_id(model: str) -> str | None:
    """The model's id on Hugging Face's Hub."""
    if model in PACKAGED_MODELS:
        return PACKAGED_MODELS[model].hub_id
    return model if _is_hub_id(model) and not Path(model).exists() else None


def _is_hub_id(model: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None
