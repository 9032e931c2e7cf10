"""Encoders take a GPU only where a process has reserved one; the devices are recorded, and all is computed on
the CPU."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from sentence_transformers import SentenceTransformer

from student.config import StudentConfig
from student.encoders import embedding
from student.encoders.embedding import texts_to_vectors
from student.encoders.encoder import EncoderSource, load_encoder
from student.training.loop import build_model, write_student


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices on which encoders were to be loaded."""
    requested: list[str] = []

    def load(folder: str, *, device: str, local_files_only: bool) -> SentenceTransformer:
        requested.append(device)
        return SentenceTransformer(folder, device="cpu", local_files_only=local_files_only)

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", load)
    return requested


class Blocks:
    """A dataset of Ray Data whose actors run in this process; keeps the arguments that they were given."""

    def __init__(self, blocks: Sequence[pa.Table]) -> None:
        self._blocks = blocks
        self.options: dict[str, Any] = {}

    def map_batches(self, actor: type, *, fn_constructor_args: tuple[Any], **options: Any) -> "Blocks":
        self._actor = actor(*fn_constructor_args)
        self.options = options
        return self

    def iter_batches(self, batch_size: None) -> Iterator[dict[str, Any]]:
        for block in self._blocks:
            yield self._actor({name: block[name].to_numpy() for name in block.column_names})


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> list[Blocks]:
    """The datasets that actors have embedded, on a cluster of one node with two GPUs."""
    datasets: list[Blocks] = []

    def from_arrow(blocks: Sequence[pa.Table]) -> Blocks:
        datasets.append(Blocks(blocks))
        return datasets[-1]

    cluster = SimpleNamespace(
        data=SimpleNamespace(from_arrow=from_arrow, ActorPoolStrategy=lambda **sizes: sizes),
        cluster_resources=lambda: {"CPU": 4.0, "GPU": 2.0},
        nodes=lambda: ["head"],
    )
    monkeypatch.setattr(embedding, "ray", cluster)
    return datasets


def test_few_texts_are_embedded_by_this_process_on_the_cpu(
    tiny_encoder: Path, devices: list[str], actors: list[Blocks]
) -> None:
    source = EncoderSource(str(tiny_encoder), "dense", 16, "fp32")
    texts_to_vectors({"context": ["w1", "w2"]}, source, lambda done, total: None)
    assert devices == ["cpu"]
    assert actors == []


@pytest.mark.parametrize(
    ("use_gpu", "device", "reserved"), [(False, "cpu", "num_cpus"), (True, "cuda", "num_gpus")]
)
def test_an_actor_embeds_on_the_device_that_it_has_reserved(
    use_gpu: bool, device: str, reserved: str, tiny_encoder: Path, devices: list[str], actors: list[Blocks]
) -> None:
    source = EncoderSource(str(tiny_encoder), "dense", 16, "fp32", use_gpu)
    texts = [f"w{number % 30} w{number // 30}" for number in range(600)]
    texts_to_vectors({"context": texts}, source, lambda done, total: None)
    assert devices == [device]
    [dataset] = actors
    assert {name: value for name, value in dataset.options.items() if name.startswith("num_")} == {
        reserved: 1
    }


def test_few_texts_for_gpus_are_embedded_by_an_actor_that_has_reserved_one(
    tiny_encoder: Path, devices: list[str], actors: list[Blocks]
) -> None:
    source = EncoderSource(str(tiny_encoder), "dense", 16, "fp32", use_gpu=True)
    texts_to_vectors({"context": ["w1", "w2"]}, source, lambda done, total: None)
    assert devices == ["cuda"]
    assert [dataset.options["num_gpus"] for dataset in actors] == [1]


def test_a_student_is_loaded_on_the_cpu_for_training_and_for_writing(
    tiny_encoder: Path, devices: list[str], tmp_path: Path
) -> None:
    config = StudentConfig(model=str(tiny_encoder), max_tokens=16, use_gpu=True)
    # DeepSpeed knows which of a node's GPUs is the worker's, and moves the model there.
    build_model(config)
    write_student(config, {}, {}, tmp_path)
    load_encoder(EncoderSource(str(tmp_path), "dense", 16))
    assert devices == ["cpu", "cpu", "cpu"]
