"""Licences that cards name."""

import json
from pathlib import Path

import pytest

from teachers.licences import licence_of


@pytest.mark.parametrize(
    ("front_matter", "licence"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"),
        ("license: other\nlicense_name: qwen-research", "qwen-research"),
        ("license: other", "other"),
        ("tags: [x]", None),
        ("license: [", None),
    ],
)
def test_a_folders_licence_is_that_of_its_readme(
    front_matter: str, licence: str | None, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front_matter}\n---\n# model\n")
    assert licence_of(str(tmp_path)) == licence


def test_what_says_nothing_has_no_known_licence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    assert licence_of(str(tmp_path)) is None
    assert licence_of("nobody/has-this-model") is None
    assert licence_of("/nowhere/at/all") is None
