"""The Makefile lists every test file marked `faults`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_file_with_faults_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text()
    files = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "tests").rglob("test_*.py")
        if "mark.faults" in file.read_text() and file != Path(__file__)
    ]
    assert len(files) > 5
    assert [file for file in files if file not in makefile] == []
