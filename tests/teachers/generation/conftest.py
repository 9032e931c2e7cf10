from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def english() -> list[str]:
    """The lines of this repository's documents: English, with names and abbreviations."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [line for file in files for line in file.read_text().splitlines()]
