"""Commands for the user are run as they are printed."""

import shlex
import subprocess
from pathlib import Path

import pytest

from jobs.execution.hints import make_command

ROOT = Path(__file__).parents[3]


def recipe_of(command: str) -> list[list[str]]:
    """The words of each line that make would run."""
    dry = subprocess.run(
        f"{command} --dry-run", shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [shlex.split(line) for line in dry.stdout.splitlines() if "jobs/" in line]


@pytest.mark.parametrize(
    "location",
    ["local", "/tmp/my run #1", "/tmp/it's $HOME $(PWD)", 'a "b" `c` \\d; e & (f), %s', "s3://b/é?k=1&l=2"],
)
def test_a_hint_names_its_run_whatever_its_characters(location: str) -> None:
    for target, script in (("serve", "jobs/deploy.py"), ("export", "jobs/export.py")):
        command = make_command(target, RUN=location)
        assert recipe_of(command) == [[".venv/bin/python", script, "--run", location]]


def test_a_hint_with_arguments_keeps_each_of_them_whole() -> None:
    arguments = ["--examples.conversations", "/tmp/my run #1/it's $1.jsonl", "--run", "synthesised"]
    [words] = recipe_of(make_command("distill", ARGS=shlex.join(arguments)))
    assert words[-len(arguments) :] == arguments


def test_a_plain_hint_needs_no_quotes() -> None:
    assert make_command("serve", RUN="runs/local") == "make serve RUN=runs/local"
