"""Models in folders: their kind, limits and prompts, as their JSON files tell.

Every room that loads a sentence-transformers or transformers model for texts reads them here. It imports none
of these libraries, so a job can refuse a folder before it starts anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from teachers.storage import read_json

ModelKind = Literal["dense", "sparse", "cross-encoder", "masked", "generative", "other"]
"""`masked` and `generative` are language models that no sentence-transformers model was made of. A `dense`
one without a modules.json is a transformer whose tokens are averaged."""
Task = Literal["query", "document"]

_PROMPT_NAMES: dict[Task, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
_KINDS: dict[str, ModelKind] = {
    "SentenceTransformer": "dense",
    "SparseEncoder": "sparse",
    "CrossEncoder": "cross-encoder",
}
_SPARSE_MODULES = {"SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding"}
_HEADS: dict[str, ModelKind] = {
    "ForSequenceClassification": "cross-encoder",
    "ForMaskedLM": "masked",
    "ForCausalLM": "generative",
    "LMHeadModel": "generative",
    "ForConditionalGeneration": "generative",
}
# Positions are counted from the padding token's on.
_POSITIONS_AFTER_PADDING = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}


@dataclass(frozen=True)
class FolderModel:
    """Model that a folder holds."""

    kind: ModelKind
    name: str
    """Class of the transformer, or the kind of model that sentence-transformers saved; for messages."""
    inputs: tuple[str, ...]
    """Classes of the modules that read text: one, or one for each route of a model with two encoders."""
    modules: frozenset[str]
    """Classes of all modules; none without a modules.json."""
    positions: int | None
    """Most tokens of a text; None: any number."""
    layers: int | None
    """Of the shallowest transformer; None: its config does not say."""
    labels: tuple[str, ...]
    """A cross-encoder's scores of a pair."""
    prompts: Mapping[Task, str]
    """Prompts before queries and documents that are not empty."""


def inspect_model(uri: str) -> FolderModel:
    """Return the model of a folder or a URI of one.

    Raises:
        ValueError: it holds none.
    """
    modules = _read(f"{uri}/modules.json")
    if modules is None:
        return _without_modules(uri)

    settings = _read(f"{uri}/config_sentence_transformers.json") or {}
    parts = list(_parts(uri, modules))
    classes = frozenset(name for names in parts for name, _ in names)
    model_type = settings.get("model_type", "SentenceTransformer")
    kind = "sparse" if classes & _SPARSE_MODULES else _KINDS.get(model_type, "other")

    configs = [_read(f"{names[0][1]}/config.json") or {} for names in parts]
    positions = [count for count in map(_positions, configs) if count is not None]
    layers = [count for count in map(_layers, configs) if count is not None]
    return FolderModel(
        kind=kind,
        name=f"{model_type} of sentence-transformers",
        inputs=tuple(names[0][0] for names in parts),
        modules=classes,
        positions=min(positions, default=None),
        layers=min(layers, default=None),
        labels=_scores(parts[0], configs[0]) if kind == "cross-encoder" else (),
        prompts=_without_empty(
            side_prompts(settings.get("prompts") or {}, settings.get("default_prompt_name"))
        ),
    )


def side_prompts(prompts: Mapping[str, str | None], default_name: str | None) -> dict[Task, str]:
    """Return the prompt before a query and before a document, each of them "" where the model has none.

    The library adds empty prompts for `query` and `document` to every model, so the first one that is not
    empty counts. A model whose only prompt is its default has it before both.
    """
    by_task: dict[Task, str] = {}
    for task, names in _PROMPT_NAMES.items():
        by_task[task] = next(filter(None, (prompts.get(name) for name in names)), "")

    if default_name is not None and not any(by_task.values()):
        return dict.fromkeys(by_task, prompts.get(default_name) or "")
    return by_task


def limit_tokens(model: Any, max_tokens: int, positions: int | None) -> int:
    """Have a sentence-transformers model read `max_tokens` of a text, or its positions where fewer.

    Returns the limit that holds.
    """
    limit = max_tokens if positions is None else min(max_tokens, positions)
    routes = getattr(model[0], "sub_modules", None)
    for module in [model[0]] if routes is None else [route[0] for route in routes.values()]:
        tokenizer = getattr(module, "tokenizer", None)
        if tokenizer is not None and hasattr(
            tokenizer, "enable_truncation"
        ):  # a static embedding's, which has no limit to set
            tokenizer.enable_truncation(limit)
            continue

        module.max_seq_length = limit
        if tokenizer is not None:
            tokenizer.model_max_length = limit  # not every module passes its own on
    return limit


def _without_modules(uri: str) -> FolderModel:
    """Return the model of a transformers folder."""
    config = _read(f"{uri}/config.json")
    if config is None:
        raise ValueError(f"expected a folder with a modules.json or a config.json, got {uri!r}")

    name = (config.get("architectures") or [config.get("model_type", "a model without a name")])[0]
    kind: ModelKind = "other" if config.get("model_type") == "model2vec" else "dense"
    for head, head_kind in _HEADS.items():
        if name.endswith(head):
            kind = head_kind
    labels = _labels(config) if kind == "cross-encoder" else ()
    limits = _positions(config), _layers(config)
    return FolderModel(kind, name, ("Transformer",), frozenset(), *limits, labels, {})


def _parts(uri: str, modules: list[dict[str, Any]]) -> Iterator[list[tuple[str, str]]]:
    """Yield the classes and folders of the modules in order, once for each route through the model."""
    names = [(_class(module["type"]), f"{uri}/{module['path']}".rstrip("/")) for module in modules]
    first, folder = names[0]
    router = (_read(f"{folder}/router_config.json") or {}) if first in ("Router", "Asym") else {}
    if not router:
        yield names
        return

    for modules_of_route in router["structure"].values():
        route = [(_class(router["types"][name]), f"{folder}/{name}") for name in modules_of_route]
        yield [*route, *names[1:]]


def _class(reference: str) -> str:
    return reference.rsplit(".", 1)[-1]


def _positions(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens a transformer of that config can read; None where nothing limits them."""
    config = config.get("text_config") or config
    model_type = config.get("model_type")
    count = config.get("n_positions" if model_type == "gpt2" else "max_position_embeddings")
    if not isinstance(count, int) or count <= 0:
        return None
    if model_type in _POSITIONS_AFTER_PADDING:
        count -= (config.get("pad_token_id") or 1) + 1
    return count


def _layers(config: Mapping[str, Any]) -> int | None:
    """Return the layers of a transformer of that config; older architectures have names of their own."""
    config = config.get("text_config") or config
    for key in ("num_hidden_layers", "n_layers", "n_layer", "num_layers"):
        if isinstance(config.get(key), int):
            return int(config[key])
    return None


def _scores(modules: list[tuple[str, str]], config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a cross-encoder's scores, by the last of its modules that tells them."""
    for name, folder in reversed(modules):
        if name == "LogitScore":
            return ("score",)
        if name == "Dense":
            return ("score",) * int((_read(f"{folder}/config.json") or {}).get("out_features", 1))
    return _labels(config)


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels of a classifier; transformers writes none down where there are two without a name."""
    if config.get("id2label"):
        return tuple(map(str, config["id2label"].values()))
    return tuple(f"LABEL_{number}" for number in range(config.get("num_labels", 2)))


def _without_empty(prompts: Mapping[Task, str]) -> dict[Task, str]:
    return {task: prompt for task, prompt in prompts.items() if prompt}


def _read(uri: str) -> Any:
    """Return the content of a JSON file; None where there is no file."""
    try:
        return read_json(uri)
    except ValueError:
        raise ValueError(f"{uri}: expected JSON") from None
