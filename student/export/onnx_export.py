"""Export of a student to ONNX, so that it embeds without torch. N texts, D dimensions (sparse: terms).

An export is a folder with `model.onnx`, `model_int8.onnx` and the tokenizer. A student with one encoder for
each side has them under `context/` and under `response/`. `onnx.json` names each side's files and their
differences from torch. It is written last, so an export that has it is complete.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from sentence_transformers.base.modules import Router
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers import Tokenizer
from torch import Tensor, nn

from student.config import Kind
from student.encoders.encoder import (
    TASKS,
    Encoder,
    EncoderSource,
    Side,
    final_vectors,
    has_routes,
    load_encoder,
    prompt_of,
    student_hash,
)
from student.export.onnx_encoder import FILES, MANIFEST, OUTPUT
from student.export.onnx_parity import measure_side
from teachers.storage import copy_folder, delete_folder, file_exists, write_json

MIN_TEXTS = 64

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 18
_MAX_BYTES = 2**31  # of a protobuf file


def export_student(
    folder: Path, output_uri: str, kind: Kind, max_tokens: int, texts: Mapping[Side, Sequence[str]]
) -> dict[str, Any]:
    """Export the student of `folder` to `output_uri` and return the contents of `onnx.json`.

    `texts` are contexts and responses on which torch and ONNX Runtime are compared, at least 64 each.

    Raises:
        ValueError: too few texts, an encoder that cannot be exported, or one whose fp32 vectors differ
            from torch's by more than 1e-4; nothing is written then.
    """
    for side in TASKS:
        if len(texts[side]) < MIN_TEXTS:
            raise ValueError(
                f"expected at least {MIN_TEXTS} texts of the {side} side, got {len(texts[side])}"
            )

    encoder = load_encoder(EncoderSource(str(folder), kind, max_tokens)).float().eval()
    max_tokens = min(max_tokens, encoder.max_seq_length or max_tokens)
    parts: dict[Side, str] = {side: f"{side}/" if has_routes(encoder) else "" for side in TASKS}
    with tempfile.TemporaryDirectory(prefix="rejoinder-onnx-") as scratch:
        for part, side in {part: side for side, part in parts.items()}.items():
            part_folder = Path(scratch) / part
            part_folder.mkdir(exist_ok=True)
            _write_graphs(encoder, side, max_tokens, part_folder)
            _write_tokenizer(_modules(encoder, side)[0].tokenizer, max_tokens, part_folder)

        encoders = {}
        for side, part in parts.items():
            encoders[side] = measure_side(encoder, side, Path(scratch), part, texts[side])
        manifest = {
            "student_hash": student_hash(str(folder)),
            "kind": kind,
            "max_tokens": max_tokens,
            "encoders": encoders,
            "packages": {name: version(name) for name in ("torch", "onnx", "onnxruntime")},
        }
        _publish(Path(scratch), manifest, output_uri)
    return manifest


class _SideGraph(nn.Module):
    """One side's modules in sequence, from token ids to the final vector [N, D]."""

    def __init__(
        self, modules: Sequence[nn.Module], inputs: Sequence[str], finish: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.stack = nn.Sequential(*modules)
        self._inputs = inputs
        self._finish = finish

    def forward(self, *values: Tensor) -> Tensor:
        features = self.stack(dict(zip(self._inputs, values, strict=True)))
        return self._finish(features["sentence_embedding"])


class _ExportedSpladePooling(nn.Module):
    """SpladePooling whose graph takes any length, whereas the library's loops over chunks in Python.

    Maxima are pooled before the logarithm, which is monotonic and then computed for one token only.
    """

    def __init__(self, pooling: SpladePooling) -> None:
        super().__init__()
        self._takes_sum = pooling.pooling_strategy == "sum"
        self._num_logarithms = 2 if pooling.activation_function == "log1p_relu" else 1

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = features["token_embeddings"]
        mask = features["attention_mask"].unsqueeze(-1).to(logits.dtype)
        activations = torch.relu(logits * mask)

        if self._takes_sum:
            pooled = self._logarithms(activations).sum(dim=1)
        else:
            pooled = self._logarithms(activations.amax(dim=1))
        return {"sentence_embedding": pooled}

    def _logarithms(self, activations: Tensor) -> Tensor:
        for _ in range(self._num_logarithms):
            activations = torch.log1p(activations)
        return activations


def _modules(encoder: Encoder, side: Side) -> list[nn.Module]:
    """Return the modules of one side, in order, with those of its route."""
    modules: list[nn.Module] = []
    for module in encoder.children():
        modules += module.sub_modules[TASKS[side]] if isinstance(module, Router) else [module]
    return modules


def _write_graphs(encoder: Encoder, side: Side, max_tokens: int, folder: Path) -> None:
    """Write both files of one side.

    Raises:
        ValueError: torch cannot export the encoder.
    """
    modules: list[nn.Module] = []
    for module in _modules(encoder, side):
        modules.append(_ExportedSpladePooling(module) if isinstance(module, SpladePooling) else module)
        if prompt_of(encoder, side) and getattr(module, "include_prompt", True) is False:
            raise ValueError(
                f"expected pooling over the prompt of the {side} side, got include_prompt: false"
            )

    num_bytes = sum(parameter.nbytes for module in modules for parameter in module.parameters())
    if num_bytes >= _MAX_BYTES:
        raise ValueError(
            f"expected less than 2 GiB of weights, as a file of ONNX holds, got {num_bytes / 2**30:.1f}"
        )

    features = encoder.preprocess(["hello, how are you?", "fine"], task=TASKS[side])
    inputs = [name for name in _INPUTS if name in features]
    if "attention_mask" not in inputs:
        raise ValueError(
            f"expected a transformer with an attention mask on the {side} side, got inputs {inputs}"
        )

    _write_fp32(
        _SideGraph(modules, inputs, partial(final_vectors, encoder)),
        {name: features[name] for name in inputs},
        max_tokens,
        folder,
    )
    _write_int8(folder)


def _write_fp32(graph: nn.Module, example: dict[str, Tensor], max_tokens: int, folder: Path) -> None:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=max_tokens)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which nothing needs

    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            # The exporter by tracing is deprecated, and would write a word table twice that input and
            # output share.
            program = torch.onnx.export(
                graph.eval(),
                tuple(example.values()),
                dynamo=True,
                input_names=list(example),
                output_names=[OUTPUT],
                dynamic_shapes=(tuple({0: batch, 1: length} for _ in example),),
                opset_version=_OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(f"torch cannot export this encoder: {error}") from error

    onnx_graph = program.model.graph
    for node in onnx_graph:
        node.metadata_props.clear()  # stack traces with the paths of this machine
    # Tokenizers may return token types that their model does not read.
    for graph_input in list(onnx_graph.inputs):
        if not graph_input.uses():
            onnx_graph.inputs.remove(graph_input)
    program.save(folder / FILES["fp32"])


def _write_int8(folder: Path) -> None:
    """Quantise the weights; activations are quantised at run time, by their range in the batch.

    Measured on 400 conversations with all-minilm-l6-v2 and cassette-splade, mean cosines with torch:
    - A scale for each output channel and not for a whole matrix: MiniLM 0.992 instead of 0.951.
    - Word tables too, half of MiniLM and most of cassette-splade: both lose 0.0005.
    - A table that input and output share is written twice, for only a matrix of its own has a scale for
      each term: 0.9987 instead of 0.9981, active terms overlap by 0.924 instead of 0.907, a third less
      time; 8.6 MB instead of 4.6.
    - Signed weights: unsigned are as good and take 1.5 times as long. 7 of their 8 bits are used, which loses
      0.001: with all of them sums of products saturate on a CPU without VNNI, and a file is exported on one
      machine and served by another. A tiny student's scores were off by 0.36 of 0.97 so.
    """
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="rejoinder-onnx-") as scratch:
        folded = Path(scratch) / "folded.onnx"
        quant_pre_process(str(folder / FILES["fp32"]), str(folded), skip_symbolic_shape=True)
        quantize_dynamic(
            folded,
            folder / FILES["int8"],
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


def _write_tokenizer(tokenizer: Any, max_tokens: int, folder: Path) -> None:
    """Write the tokenizer's files, of which `tokenizer.json` truncates and pads by itself.

    Raises:
        ValueError: it has no `tokenizer.json`.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ValueError(
            f"expected a tokenizer that runs without transformers, got {type(tokenizer).__name__}, "
            "which writes no tokenizer.json"
        )

    alone = Tokenizer.from_file(str(file))
    alone.enable_truncation(max_tokens, direction=tokenizer.truncation_side)
    alone.enable_padding(
        direction=tokenizer.padding_side, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token
    )
    alone.save(str(file))


def _publish(folder: Path, manifest: dict[str, Any], output_uri: str) -> None:
    """Copy the files to `output_uri`, replacing an earlier export, then write the manifest."""
    if file_exists(f"{output_uri}/{MANIFEST}"):
        delete_folder(output_uri)
    copy_folder(folder, output_uri)
    write_json(f"{output_uri}/{MANIFEST}", manifest, indent=2)
