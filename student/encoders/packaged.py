"""Folders of encoders, packaged or not. Imports no heavy library."""

from pathlib import Path

from teachers.packaged_models import encoder_folder, packaged_model

_MARKERS = ("modules.json", "config.json")


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

    from huggingface_hub import try_to_load_from_cache

    identifier = name if "/" in name else f"sentence-transformers/{name}"
    if not any(isinstance(try_to_load_from_cache(identifier, marker), str) for marker in _MARKERS):
        raise ValueError(f"{name!r} is neither packaged, nor a folder, nor in the local Hugging Face cache")
    return identifier
