"""Packaged models have one spelling, for teachers and students alike, and may lie in parts."""

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from student.encoders.packaged import resolve_model
from teachers.engines.weights import check_model, model_folder
from teachers.packaged_models import PACKAGED_MODELS, PackagedModel, Parts, encoder_folder, packaged_model


def test_each_packaged_model_is_looked_up_by_its_name() -> None:
    for name, model in PACKAGED_MODELS.items():
        assert packaged_model(name) is model and model.name == name
    assert packaged_model("no/such-model") is None


@pytest.mark.parametrize("lookup", [packaged_model, check_model, resolve_model])
def test_the_former_spelling_is_refused_with_the_new_one(lookup: object) -> None:
    assert callable(lookup)
    with pytest.raises(
        ValueError, match=r"^unknown model 'all-MiniLM-L6-v2'; it is now spelled 'all-minilm-l6-v2'$"
    ):
        lookup("all-MiniLM-L6-v2")


@pytest.fixture
def model_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A zip of a model's folder, cut in three, each part in a package of its own."""
    packages = tmp_path / "packages"
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.setenv("REJOINDER_CACHE", str(tmp_path / "cache"))

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as folder:
        folder.writestr("small/config.json", "{}")
        folder.writestr("small/vocab.txt", "one two three")
    whole = archive.getvalue()

    size = -(-len(whole) // 3)
    for number in (1, 2, 3):
        part = packages / f"small_part_{number}" / "input" / f"model.zip.{number:03}"
        part.parent.mkdir(parents=True)
        part.write_bytes(whole[(number - 1) * size : number * size])
        metadata = packages / f"small_part_{number}-1.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: small-part-{number}\nVersion: 1.0\n")

    path = "small_part_{number}/input/model.zip.{number:03}"
    parts = Parts(3, "small-part-{number}", path, hashlib.sha256(whole).hexdigest())
    return PackagedModel("small", "dense", "small-part-1", parts, "MIT", extra="teachers")


def test_the_parts_of_a_model_are_put_together_once(model_in_parts: PackagedModel) -> None:
    folder = Path(encoder_folder(model_in_parts))
    assert (folder / "vocab.txt").read_text() == "one two three"
    assert model_in_parts.version() == "small-part-1==1.0"

    written = (folder / "config.json").stat().st_mtime_ns
    assert encoder_folder(model_in_parts) == str(folder)
    assert (folder / "config.json").stat().st_mtime_ns == written
    assert [path.name for path in folder.parent.iterdir()] == ["small"]


def test_parts_of_another_model_are_refused(model_in_parts: PackagedModel) -> None:
    assert isinstance(model_in_parts.path, Parts)
    other = replace(model_in_parts, path=replace(model_in_parts.path, sha256="0" * 64))
    with pytest.raises(ValueError, match=r"^small: expected parts with the SHA-256 0+, got others: install"):
        encoder_folder(other)


def test_a_missing_part_is_named_with_the_extra_that_installs_it(model_in_parts: PackagedModel) -> None:
    assert isinstance(model_in_parts.path, Parts)
    longer = replace(model_in_parts, path=replace(model_in_parts.path, count=4))
    with pytest.raises(ValueError, match=r"^'small' is not installed \(install the extra `teachers`\)$"):
        encoder_folder(longer)


def test_a_local_folder_named_by_its_uri_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert Path(model_folder(tmp_path.as_uri())) == tmp_path
    assert (tmp_path / "config.json").is_file()
