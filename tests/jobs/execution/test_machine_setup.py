"""Commands of cluster.yaml, run by a shell on a stand-in for a machine whose programs note their keys."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER: dict[str, Any] = yaml.safe_load(Path("cluster.yaml").read_text())
KEYS = {"HF_TOKEN": "hf_token", "REJOINDER_API_KEY": "of users", "REJOINDER_ADMIN_KEY": "of admins"}


class Machine:
    """A home folder with `rejoinder` in it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        (home / "rejoinder").mkdir()
        for program in ("ray", "hf"):
            self.install(program, "rejoinder/.venv/bin")

    def install(self, program: str, folder: str) -> None:
        """Install a program that notes how it is called, and with which keys."""
        file = self._home / folder / program
        file.parent.mkdir(parents=True, exist_ok=True)
        keys = ", ".join(f'\\"{name}\\": \\"${name}\\"' for name in KEYS)
        file.write_text(f'#!/bin/sh\necho "{{\\"call\\": \\"{program} $*\\", {keys}}}" >> ~/calls\n')
        file.chmod(0o755)

    def install_pip(self) -> None:
        """Install a pip that brings uv, for the user alone."""
        self.install("uv", "downloaded/bin")
        self.install("pip", "bin")
        with (self._home / "bin/pip").open("a") as script:
            script.write("/bin/mv ~/downloaded ~/.local\n")

    def set_keys(self) -> None:
        """Put the keys where `file_mounts` would put them."""
        lines = [f"{name}='{value}'\n" for name, value in KEYS.items()]
        (self._home / "rejoinder.env").write_text("".join(lines))

    def run(self, commands: list[str]) -> list[dict[str, str]]:
        """Run the commands, as Ray does until one fails; return the calls of programs."""
        environment = {"HOME": str(self._home), "PATH": str(self._home / "bin"), "RAY_HEAD_IP": "10.0.0.1"}
        for command in commands:
            subprocess.run(["/bin/bash", "-c", command], env=environment, cwd=self._home, check=True)
        calls = self._home / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("place", ["bin", ".local/bin", None], ids=["on PATH", "of the user", "absent"])
def test_setup_takes_the_uv_that_there_is_or_installs_one(machine: Machine, place: str | None) -> None:
    machine.install_pip()
    if place is not None:
        machine.install("uv", place)
    calls = [call["call"] for call in machine.run(CLUSTER["setup_commands"])]
    *installs_uv, venv, install = [call for call in calls if not call.startswith("hf ")]
    assert installs_uv == ([] if place is not None else ["pip install --user uv"])
    assert venv == "uv venv --python 3.11 .venv"
    assert install == "uv pip install --python .venv/bin/python -e .[gpu,local] -c constraints.txt"


@pytest.mark.parametrize("commands", ["head_start_ray_commands", "worker_start_ray_commands"])
@pytest.mark.parametrize("has_keys", [True, False])
def test_ray_starts_with_the_machines_keys_where_there_are_some(
    machine: Machine, commands: str, has_keys: bool
) -> None:
    if has_keys:
        machine.set_keys()
    *_, start = machine.run(CLUSTER[commands])
    assert start.pop("call").startswith("ray start ")
    assert start == (KEYS if has_keys else dict.fromkeys(KEYS, ""))


@pytest.mark.parametrize("has_keys", [True, False])
def test_weights_are_downloaded_with_the_machines_token_where_there_is_one(
    machine: Machine, has_keys: bool
) -> None:
    machine.install("uv", "bin")
    if has_keys:
        machine.set_keys()
    teachers = yaml.safe_load(Path("configs/cloud.yaml").read_text())["teachers"]
    models = {teacher["model"] for teacher in teachers.values() if teacher.get("kind") != "similarity"}

    calls = machine.run(CLUSTER["setup_commands"])
    tokens = {call["call"]: call["HF_TOKEN"] for call in calls if call["call"].startswith("hf ")}
    assert tokens == dict.fromkeys((f"hf download {model}" for model in models), "hf_token" * has_keys)


def test_keys_and_tokens_of_pods_are_secrets_that_may_be_absent() -> None:
    manifest = yaml.safe_load(Path("configs/kubernetes/distill.yaml").read_text())
    cluster = manifest["spec"]["rayClusterSpec"]
    guide = Path("docs/cluster.md").read_text()
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        [container] = group["template"]["spec"]["containers"]
        secrets = [source["secretRef"] for source in container["envFrom"]]
        assert all(secret["optional"] for secret in secrets)
        assert [secret["name"] for secret in secrets] == ["bucket", "hugging-face"]
        assert all(f"kubectl create secret generic {secret['name']} " in guide for secret in secrets)
    assert "hugging-face --from-literal=HF_TOKEN=" in guide
