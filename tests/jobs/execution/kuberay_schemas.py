"""Validation of manifests against the schemas of KubeRay's resources, from a release of KubeRay.

KUBERAY_CRDS names a folder with its `ray.io_rayjobs.yaml` and `ray.io_rayservices.yaml`, which lie below
`helm-chart/kuberay-operator/crds/`. They are no part of this repository.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

FOLDER = os.environ.get("KUBERAY_CRDS")
needs_schemas = pytest.mark.skipif(not FOLDER, reason="KUBERAY_CRDS names no folder with KubeRay's schemas")


def schema_errors(manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with a RayJob or a RayService, each with its place; keys that it has not, too."""
    errors = _validator(manifest["kind"]).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


@cache
def _validator(kind: str) -> Draft202012Validator:
    file = Path(FOLDER or "", f"ray.io_{kind.lower()}s.yaml")
    definition = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
    [schema] = [
        version["schema"]["openAPIV3Schema"]
        for version in definition["spec"]["versions"]
        if version["name"] == "v1"
    ]
    return Draft202012Validator(closed(schema))


def closed(schema: Any) -> Any:
    """Return a schema that refuses unknown keys, as kubectl does; Kubernetes' own would drop them."""
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        result.setdefault("additionalProperties", False)
    return result
