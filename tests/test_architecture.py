"""The rules between the rooms; the import contracts themselves are in pyproject.toml."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("jobs", "serve", "student", "teachers")
LIGHT_CONFIGS = sorted(
    f"{path.parent.name}.config" for room in ROOMS for path in (ROOT / room).glob("config.py")
)


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("module", LIGHT_CONFIGS)
def test_a_config_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(*({{'torch', 'vllm', 'ray', 'transformers'}} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_no_module_of_jobs_shadows_another() -> None:
    # `python jobs/distill.py` puts jobs/ first on sys.path: jobs/types.py would replace the standard `types`.
    taken = {*ROOMS, *sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    names = {path.stem for path in (ROOT / "jobs").iterdir() if not path.name.startswith("__")}
    assert names & taken == set()
