"""Parity of exported students with torch, and exports that are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder.modules import SpladePooling, Transformer

from student.config import Kind
from student.encoders.encoder import (
    TASKS,
    EncoderSource,
    Side,
    embed_texts,
    load_encoder,
    separate_encoders,
    student_hash,
)
from student.export import onnx_export
from student.export.onnx_encoder import OnnxEncoder
from student.export.onnx_export import export_student
from student.export.onnx_parity import compare
from tests.student.student_rows import NUM_WORDS

MAX_TOKENS = 12
# Of one to twenty words: some longer than is read.
CONTEXTS = [" ".join(f"w{(i * 7 + j) % NUM_WORDS}" for j in range(1 + i % 20)) for i in range(64)]
RESPONSES = [" ".join(f"w{(i * 3 + j) % NUM_WORDS}" for j in range(1 + i % 5)) for i in range(64)]


def _export(folder: Path, output: Path, kind: Kind) -> dict[str, Any]:
    texts: dict[Side, list[str]] = {"context": CONTEXTS, "response": RESPONSES}
    return export_student(folder, str(output), kind, MAX_TOKENS, texts)


def _assert_equal_at_any_shape(folder: Path, output: Path, kind: Kind) -> None:
    """Batches of 1, 2, 3 and 20 texts, of short, long, mixed and empty ones, on both sides."""
    encoder = load_encoder(EncoderSource(str(folder), kind, MAX_TOKENS)).cpu()
    sides = json.loads((output / "onnx.json").read_text())["encoders"]
    for side in TASKS:
        exported = OnnxEncoder.load(output / sides[side]["fp32"]["file"], sides[side]["prompt"])
        for texts in (["w1"], ["", "w2 w3"], [CONTEXTS[19], "w1", "w4 w5 w6"], CONTEXTS[:20]):
            vectors = embed_texts(encoder, texts, side)
            expected = vectors if isinstance(vectors, np.ndarray) else vectors.toarray()
            np.testing.assert_allclose(exported.embed(texts), expected, atol=1e-4)


@pytest.fixture(scope="module")
def dense_export(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("dense") / "onnx"
    _export(tiny_encoder, output, "dense")
    return output


def test_a_dense_export_has_torchs_vectors(tiny_encoder: Path, dense_export: Path) -> None:
    _assert_equal_at_any_shape(tiny_encoder, dense_export, "dense")
    assert {path.name for path in dense_export.iterdir()} == {
        "model.onnx",
        "model_int8.onnx",
        "onnx.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_manifest_has_the_parity_size_and_latency_of_each_file(
    tiny_encoder: Path, dense_export: Path
) -> None:
    manifest = json.loads((dense_export / "onnx.json").read_text())
    assert manifest["student_hash"] == student_hash(str(tiny_encoder))
    assert (manifest["kind"], manifest["max_tokens"]) == ("dense", MAX_TOKENS)

    for side in ("context", "response"):
        entry = manifest["encoders"][side]
        assert entry["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
        assert (entry["dimensions"], entry["texts"], entry["prompt"]) == (16, 64, "")
        assert entry["fp32"]["max_abs_difference"] <= 1e-4
        assert entry["fp32"]["mean_cosine"] == pytest.approx(1, abs=1e-6)
        assert entry["int8"]["mean_cosine"] > 0.9
        assert entry["torch_latency_ms"] > 0
        for precision in ("fp32", "int8"):
            assert entry[precision]["size_bytes"] == (dense_export / entry[precision]["file"]).stat().st_size
            assert entry[precision]["latency_ms"] > 0


def test_an_export_contains_no_path_of_the_machine(dense_export: Path) -> None:
    """torch writes stack traces into each node."""
    for file in dense_export.iterdir():
        assert str(Path(torch.__file__).parents[1]).encode() not in file.read_bytes()


def test_a_sparse_export_has_the_same_active_terms(tiny_sparse_encoder: Path, tmp_path: Path) -> None:
    manifest = _export(tiny_sparse_encoder, tmp_path / "onnx", "sparse")
    _assert_equal_at_any_shape(tiny_sparse_encoder, tmp_path / "onnx", "sparse")
    for side in ("context", "response"):
        assert manifest["encoders"][side]["fp32"]["mean_jaccard"] == pytest.approx(1, abs=1e-3)
        assert manifest["encoders"][side]["int8"]["mean_jaccard"] > 0.8
        assert manifest["encoders"][side]["dimensions"] == NUM_WORDS + 5


def test_sum_pooling_and_two_logarithms_are_exported(tiny_sparse_encoder: Path, tmp_path: Path) -> None:
    transformer = Transformer(str(tiny_sparse_encoder), transformer_task="fill-mask")
    pooling = SpladePooling("sum", activation_function="log1p_relu")
    SparseEncoder(modules=[transformer, pooling], device="cpu").save(str(tmp_path / "student"))
    _export(tmp_path / "student", tmp_path / "onnx", "sparse")
    _assert_equal_at_any_shape(tmp_path / "student", tmp_path / "onnx", "sparse")


def test_two_encoders_and_their_prompts_are_exported(tiny_encoder: Path, tmp_path: Path) -> None:
    encoder = separate_encoders(load_encoder(EncoderSource(str(tiny_encoder), "dense", MAX_TOKENS)))
    encoder.prompts = {"query": "w9 ", "document": ""}
    with torch.no_grad():
        for weights in encoder[0].sub_modules["query"].parameters():
            weights += 0.1
    encoder.save(str(tmp_path / "student"))
    manifest = _export(tmp_path / "student", tmp_path / "onnx", "dense")
    _assert_equal_at_any_shape(tmp_path / "student", tmp_path / "onnx", "dense")
    sides = manifest["encoders"]

    assert sides["context"]["fp32"]["file"] == "context/model.onnx"
    assert sides["response"]["int8"]["file"] == "response/model_int8.onnx"
    assert (sides["context"]["prompt"], sides["response"]["prompt"]) == ("w9 ", "")
    assert (tmp_path / "onnx" / "response" / "tokenizer.json").is_file()
    assert not (tmp_path / "onnx" / "model.onnx").exists()


def test_a_damaged_export_is_refused(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number of the embedding of [CLS], which begins every text, is off by 0.01."""
    write = onnx_export._write_fp32

    def write_damaged(graph: Any, example: Any, max_tokens: int, folder: Path) -> None:
        write(graph, example, max_tokens, folder)
        model = onnx.load(folder / "model.onnx")
        table = next(t for t in model.graph.initializer if t.name.endswith("word_embeddings.weight"))
        damaged = onnx.numpy_helper.to_array(table).copy()
        damaged[2, 0] += 0.01
        table.CopyFrom(onnx.numpy_helper.from_array(damaged, table.name))
        onnx.save(model, folder / "model.onnx")

    monkeypatch.setattr(onnx_export, "_write_fp32", write_damaged)

    with pytest.raises(ValueError, match=r"model\.onnx differs by .* from torch on the context side"):
        _export(tiny_encoder, tmp_path / "onnx", "dense")
    assert not (tmp_path / "onnx").exists()


def test_a_graph_with_a_fixed_length_is_refused(dense_export: Path, tmp_path: Path) -> None:
    model = onnx.load(dense_export / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="input_ids has the fixed shape"):
        OnnxEncoder.load(tmp_path / "model.onnx")


def test_too_few_texts_are_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    texts: dict[Side, list[str]] = {"context": CONTEXTS, "response": RESPONSES[:63]}
    with pytest.raises(ValueError, match="expected at least 64 texts of the response side, got 63"):
        export_student(tiny_encoder, str(tmp_path), "dense", MAX_TOKENS, texts)


def test_an_earlier_export_is_replaced_as_a_whole(tiny_encoder: Path, tmp_path: Path) -> None:
    output = tmp_path / "onnx"
    (output / "context").mkdir(parents=True)
    (output / "context" / "model.onnx").touch()
    (output / "onnx.json").write_text("{}")
    _export(tiny_encoder, output, "dense")
    assert not (output / "context").exists()
    assert (output / "model.onnx").is_file()


def test_vectors_are_compared_by_difference_cosine_and_active_terms() -> None:
    expected = np.array([[3, 4, 0], [0, 0, 0], [1, 1, 0]], dtype=np.float32)
    actual = np.array([[3, 4, 0], [0, 0, 0], [1, 0, 1]], dtype=np.float32)
    # Differences: two of nine are 1. Cosines: 1, 1 (nothing in both), 1 / (√2 · √2) = 0.5.
    # Active terms in both of those in either: 2/2, none in both, 1/3.
    assert compare(expected, actual, terms=True) == pytest.approx(
        {
            "max_abs_difference": 1,
            "mean_abs_difference": 2 / 9,
            "mean_cosine": 2.5 / 3,
            "mean_jaccard": (1 + 1 + 1 / 3) / 3,
        }
    )
    # A zero vector where there should be none counts as cosine 0.
    assert compare(expected[:1], expected[1:2])["mean_cosine"] == 0
