"""Encoders that a config names, packaged or in folders, and whether they fit. Imports no heavy library."""

from pathlib import Path

from student.config import Kind, StudentConfig
from teachers.model_folders import FolderModel, inspect_model
from teachers.packaged_models import encoder_folder, packaged_model

_MARKERS = ("modules.json", "config.json")
# They read text without a transformer, which training changes.
_NO_TRANSFORMERS = {"BoW", "CLIPModel", "SparseStaticEmbedding", "StaticEmbedding", "WordEmbeddings"}


def resolve_model(name: str) -> str:
    """Return the folder of a packaged model; any other folder or id unchanged.

    Raises:
        ValueError: the package or the folder is missing, or the name is misspelled.
    """
    packaged = packaged_model(name)
    if packaged is not None and packaged.is_encoder:
        return encoder_folder(packaged)
    if any((Path(name) / marker).is_file() for marker in _MARKERS):
        return str(Path(name).resolve())

    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ValueError(f"expected a folder of a sentence-transformers or transformers model, got {name!r}")

    identifier = name if "/" in name else f"sentence-transformers/{name}"
    if _cached_folder(identifier) is None:
        raise ValueError(f"{name!r} is neither packaged, nor a folder, nor in the local Hugging Face cache")
    return identifier


def model_location(model: str) -> str:
    """Return the folder of a resolved model; a URI unchanged.

    A cached id stays an id in configs, as each machine has a cache of its own.
    """
    return model if "://" in model or Path(model).is_dir() else _cached_folder(model) or model


def check_kind(name: str, model: FolderModel, kind: Kind) -> None:
    """Check that a model can make vectors of this kind.

    Raises:
        ValueError: it cannot.
    """
    if kind == "dense" and model.kind == "sparse":
        raise ValueError(f"{name} is a sparse encoder: set student.kind to sparse")
    if kind == "sparse" and model.kind == "dense":
        raise ValueError(
            f"{name} is a dense encoder: a sparse student needs a masked language model, got {model.name}"
        )

    fitting = ("dense", "masked", "generative") if kind == "dense" else ("sparse", "masked")
    if model.kind not in fitting:
        raise ValueError(f"{name}: expected a {kind} encoder of single texts, got {model.name}")


def check_encoder(name: str, kind: Kind) -> FolderModel:
    """Return the model that a config names, which can make vectors of this kind.

    Raises:
        ValueError: it is missing, or cannot.
    """
    model = inspect_model(model_location(resolve_model(name)))
    check_kind(name, model, kind)
    return model


def check_student(config: StudentConfig) -> None:
    """Check that the student's model is there, of its kind, and can be trained.

    Raises:
        ValueError: it is not.
    """
    model = check_encoder(config.model, config.kind)
    for reader in model.inputs:
        if reader in _NO_TRANSFORMERS:
            raise ValueError(f"{config.model}: expected a transformer that can be trained, got {reader}")

    if config.kind == "sparse" and model.modules and "SpladePooling" not in model.modules:
        raise ValueError(
            f"{config.model}: expected SPLADE's weights of terms, got {', '.join(sorted(model.modules))}"
        )


def check_max_tokens(config: StudentConfig) -> None:
    """Check that the student's model can read as many tokens as the config has it read.

    Raises:
        ValueError: it cannot.
    """
    positions = check_encoder(config.model, config.kind).positions
    if positions is not None and config.max_tokens > positions:
        raise ValueError(
            f"expected at most the {positions} positions of {config.model}, got {config.max_tokens}"
        )


def check_frozen_layers(config: StudentConfig) -> None:
    """Check that a layer of the student's model is left to train; of a sparse one all are.

    Raises:
        ValueError: there is none.
    """
    layers = check_encoder(config.model, config.kind).layers
    if config.kind == "sparse" or config.frozen_layers is None or layers is None:
        return
    if config.frozen_layers >= layers:
        raise ValueError(
            f"expected less than the {layers} layers of {config.model}, got {config.frozen_layers}"
        )


def _cached_folder(identifier: str) -> str | None:
    """Return the folder of a Hugging Face id in the cache; None where there is none."""
    from huggingface_hub import try_to_load_from_cache

    for marker in _MARKERS:
        file = try_to_load_from_cache(identifier, marker)
        if isinstance(file, str):
            return str(Path(file).parent)
    return None
