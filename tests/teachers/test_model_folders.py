"""Kinds, limits and prompts of models in folders, as their files tell."""

import json
from pathlib import Path
from typing import Any

import pytest

from teachers.model_folders import inspect_model, side_prompts


def write(folder: Path, **contents: Any) -> str:
    """Write JSON files, whose names have `__` for a folder's slash."""
    for name, content in contents.items():
        file = folder / f"{name.replace('__', '/')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return str(folder)


def modules(*names: str) -> list[dict[str, Any]]:
    return [{"idx": i, "path": f"{i}_{name}", "type": f"a.b.{name}"} for i, name in enumerate(names)]


def test_the_layout_with_a_folder_for_each_module_is_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        modules=modules("Transformer", "Pooling"),
        **{"0_Transformer__config": {"model_type": "bert", "max_position_embeddings": 64}},
    )
    model = inspect_model(folder)
    assert (model.kind, model.inputs, model.positions) == ("dense", ("Transformer",), 64)


def test_two_encoders_read_as_many_tokens_as_the_shorter_one(tmp_path: Path) -> None:
    structure = {"query": ["q", "qp"], "document": ["d", "dp"]}
    types = {"q": "a.Transformer", "qp": "a.Pooling", "d": "a.Transformer", "dp": "a.Pooling"}
    folder = write(
        tmp_path,
        modules=[{"idx": 0, "path": "", "type": "a.Router"}],
        router_config={"structure": structure, "types": types},
        q__config={"max_position_embeddings": 512},
        d__config={"max_position_embeddings": 128},
    )
    model = inspect_model(folder)
    assert (model.kind, model.inputs, model.positions) == ("dense", ("Transformer", "Transformer"), 128)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        # Positions begin after the padding token's, which has number 1.
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, None),  # relative positions
        ({"model_type": "xlnet", "max_position_embeddings": -1}, None),
    ],
)
def test_positions_are_counted_as_the_architecture_does(
    config: dict[str, Any], positions: int | None, tmp_path: Path
) -> None:
    assert inspect_model(write(tmp_path, config=config)).positions == positions


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"model_type": "bert", "num_hidden_layers": 6}, 6),
        ({"model_type": "distilbert", "n_layers": 6}, 6),
        ({"model_type": "gemma3", "text_config": {"num_hidden_layers": 18}}, 18),
        ({"model_type": "xlnet", "n_layer": 12}, 12),
        ({"model_type": "bert"}, None),
    ],
)
def test_layers_are_counted_by_every_name_of_theirs(
    config: dict[str, Any], layers: int | None, tmp_path: Path
) -> None:
    assert inspect_model(write(tmp_path, config=config)).layers == layers


@pytest.mark.parametrize(
    ("config", "kind", "labels"),
    [
        ({"architectures": ["BertModel"]}, "dense", ()),
        ({"architectures": ["BertForMaskedLM"]}, "masked", ()),
        ({"architectures": ["LlamaForCausalLM"]}, "generative", ()),
        ({"architectures": ["StaticModel"], "model_type": "model2vec"}, "other", ()),
        (
            {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}},
            "cross-encoder",
            ("x",),
        ),
        # transformers leaves two labels without a name out of the file.
        ({"architectures": ["BertForSequenceClassification"]}, "cross-encoder", ("LABEL_0", "LABEL_1")),
    ],
)
def test_a_transformers_folder_is_of_its_architectures_kind(
    config: dict[str, Any], kind: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    model = inspect_model(write(tmp_path, config=config))
    assert (model.kind, model.labels) == (kind, labels)


@pytest.mark.parametrize(
    ("names", "model_type", "kind"),
    [
        (("Transformer", "SpladePooling"), "SentenceTransformer", "sparse"),
        (("Transformer", "Pooling"), "SparseEncoder", "sparse"),
        (("Transformer",), "CrossEncoder", "cross-encoder"),
        (("Transformer", "Dense"), "ColBERT", "other"),
        (("StaticEmbedding", "Normalize"), "SentenceTransformer", "dense"),
    ],
)
def test_a_saved_model_is_of_the_kind_of_its_modules(
    names: tuple[str, ...], model_type: str, kind: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, modules=modules(*names), config_sentence_transformers={"model_type": model_type})
    assert inspect_model(folder).kind == kind


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({"query": "q: ", "passage": "p: ", "document": ""}, None, ("q: ", "p: ")),
        ({"corpus": "c: ", "document": None}, None, ("", "c: ")),
        ({"query": "q: ", "passage": "p: "}, "query", ("q: ", "p: ")),
        ({"query": "q: "}, "query", ("q: ", "")),
        ({"sts": "s: ", "query": ""}, "sts", ("s: ", "s: ")),
        ({}, None, ("", "")),
    ],
)
def test_the_first_prompt_that_is_not_empty_counts(
    prompts: dict[str, str | None], default: str | None, expected: tuple[str, str]
) -> None:
    by_task = side_prompts(prompts, default)
    assert (by_task["query"], by_task["document"]) == expected


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a folder with a modules\.json or a config\.json"):
        inspect_model(str(tmp_path))
