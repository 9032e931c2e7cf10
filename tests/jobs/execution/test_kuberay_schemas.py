"""The manifests are valid by KubeRay's own schemas, where these are at hand."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.jobs.execution.kuberay_schemas import closed, needs_schemas, schema_errors


def manifest(name: str) -> dict[str, Any]:
    """Return the first document of a manifest, which is KubeRay's."""
    content: dict[str, Any] = next(yaml.safe_load_all(Path(f"configs/kubernetes/{name}.yaml").read_text()))
    return content


@needs_schemas
@pytest.mark.parametrize("name", ["distill", "respond"])
def test_a_manifest_is_valid(name: str) -> None:
    assert schema_errors(manifest(name)) == []


@needs_schemas
@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("authOption", {"mode": "token"}),
        ("headGroupSpec.template.spec.containers.0.env_from", []),
        ("workerGroupSpecs.0.maxReplicas", "8"),
        ("autoscalerOptions.version", "v3"),
        ("headGroupSpec.rayStartParams.num-cpus", 0),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_place(place: str, value: Any) -> None:
    wrong = manifest("distill")
    *keys, last = place.split(".")
    section = wrong["spec"]["rayClusterSpec"]
    for key in keys:
        section = section[int(key) if key.isdigit() else key]
    section[last] = value
    [error] = schema_errors(wrong)
    assert error.startswith(f"spec.rayClusterSpec.{'.'.join(keys)}".rstrip(".")) and last in error


def test_keys_that_a_schema_does_not_name_are_refused_and_maps_stay_open() -> None:
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    group = {"type": "object", "properties": {"labels": labels, "metadata": {"type": "object"}}}
    groups = {"type": "object", "properties": {"groups": {"type": "array", "items": group}}}
    validator = Draft202012Validator(closed(groups))
    assert validator.is_valid({"groups": [{"labels": {"role": "head"}, "metadata": {"name": "one"}}]})
    assert not validator.is_valid({"groups": [{"label": {}}]})
    assert not validator.is_valid({"groups": [{"labels": {"role": 1}}]})
