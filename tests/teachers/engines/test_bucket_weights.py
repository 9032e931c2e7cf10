"""Weights in a folder of a bucket: checked there, copied once per machine, told apart by their content."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from teachers.engines.weights import check_generative_model, check_model, model_folder, weights_identity
from teachers.storage import open_uri, write_text
from tests.s3_server import FaultyBucket, faulty_bucket

MODEL = "s3://runs/models/tiny"
FILES = {
    "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}),
    "model.safetensors": "weights",
    "tokenizer/vocabulary.json": "{}",
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyBucket]:
    """A bucket with a teacher's folder, and an empty cache on this side."""
    monkeypatch.setenv("REJOINDER_CACHE", str(tmp_path))
    with faulty_bucket() as server:
        filesystem, _ = open_uri(server.at(""))
        monkeypatch.setattr("teachers.storage._s3", lambda _: filesystem)
        for name, content in FILES.items():
            write_text(f"{MODEL}/{name}", content)
        yield server


def test_weights_in_a_bucket_are_checked_without_a_copy(bucket: FaultyBucket) -> None:
    check_model(MODEL)
    check_generative_model(MODEL)
    assert "models/tiny/model.safetensors" not in bucket.downloads
    with pytest.raises(ValueError, match=r"^'s3://runs/models/small' is neither packaged .*, nor a folder"):
        check_model("s3://runs/models/small")


def test_weights_in_a_bucket_are_copied_once_per_machine(bucket: FaultyBucket, tmp_path: Path) -> None:
    folder = Path(model_folder(MODEL))
    assert folder.is_relative_to(tmp_path)
    assert {name: (folder / name).read_text() for name in FILES} == FILES
    assert sorted(bucket.downloads) == sorted(f"models/tiny/{name}" for name in FILES)

    bucket.downloads.clear()
    assert model_folder(MODEL) == str(folder)
    assert bucket.downloads == []
    assert list(tmp_path.iterdir()) == [folder], "no scratch folder stays"


def test_other_content_in_the_same_folder_is_another_model(bucket: FaultyBucket) -> None:
    identity, folder = weights_identity(MODEL), model_folder(MODEL)
    assert weights_identity(MODEL) == identity and identity.startswith("tiny-")

    write_text(f"{MODEL}/model.safetensors", "other weights")
    assert weights_identity(MODEL) != identity
    copied_again = model_folder(MODEL)
    assert copied_again != folder
    assert (Path(copied_again) / "model.safetensors").read_text() == "other weights"
