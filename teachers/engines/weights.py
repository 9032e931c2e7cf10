"""Teachers' weights as a local folder that vLLM or sentence-transformers loads.

The packaged generative teachers are GGUF files, which vLLM 0.32 no longer reads: transformers de-quantises
each once into a cache folder. A packaged retriever is loaded from its package, or unpacked likewise.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

from pyarrow.fs import FileSelector, LocalFileSystem

from teachers.config import SimilarityTeacher, VllmTeacher
from teachers.engines.hub import cached_snapshot, snapshot
from teachers.licences import hub_id
from teachers.model_folders import FolderModel, inspect_model
from teachers.packaged_models import PACKAGED_MODELS, encoder_folder, made_once, packaged_model
from teachers.storage import file_digest, file_exists, local_folder, open_uri

TEACHER_MODELS = {name: model for name, model in PACKAGED_MODELS.items() if model.is_teacher}


def check_model(model: str, revision: str | None = None) -> None:
    """Check that the weights are there; a Hugging Face id's are downloaded to this machine.

    Raises:
        ValueError: they are not there, or the name is misspelled.
    """
    packaged = packaged_model(model)
    if packaged is not None and packaged.is_teacher:
        packaged.locations()
    elif _is_hub_id(model):
        snapshot(model, revision)
    elif not any(file_exists(f"{model}/{name}") for name in ("config.json", "modules.json")):
        raise ValueError(
            f"{model!r} is neither packaged ({', '.join(TEACHER_MODELS)}), nor a folder with a config.json "
            "or a modules.json, nor a Hugging Face id"
        )


def check_teacher_model(teacher: VllmTeacher | SimilarityTeacher) -> None:
    """Check that a teacher's weights are there, as `check_model` does, and are of its kind.

    Raises:
        ValueError: they are not.
    """
    if isinstance(teacher, VllmTeacher):
        check_generative_model(teacher.model, teacher.revision)
        return

    check_model(teacher.model, teacher.revision)
    packaged = packaged_model(teacher.model)
    if packaged is None:
        check_similarity_model(teacher.model, inspect_model(_location(teacher.model, teacher.revision)))
    elif not packaged.is_encoder:
        raise ValueError(f"{teacher.model}: expected a retriever or a cross-encoder, got a generative model")


def check_generative_model(model: str, revision: str | None = None) -> None:
    """Check that the weights are there, as `check_model` does, and write texts.

    Raises:
        ValueError: they are not, or do not.
    """
    check_model(model, revision)
    packaged = packaged_model(model)
    if packaged is not None and not packaged.is_encoder:
        return

    name = "a retriever"
    if packaged is None:
        inspected = inspect_model(_location(model, revision))
        if not inspected.modules and inspected.kind not in ("cross-encoder", "masked"):
            return
        name = inspected.name
    raise ValueError(f"{model}: expected a generative model, got {name}: only similarity teachers take it")


def check_similarity_model(name: str, model: FolderModel) -> None:
    """Check that a model scores pairs of texts.

    Raises:
        ValueError: it does not, or has several scores of a pair.
    """
    if model.kind in ("generative", "other"):
        raise ValueError(f"{name}: expected a retriever or a cross-encoder, got {model.name}")
    if model.kind == "cross-encoder" and len(model.labels) != 1:
        raise ValueError(
            f"{name}: expected a cross-encoder with one score, got {len(model.labels)}: "
            f"{', '.join(model.labels)}"
        )


def vector_settings(model: str, revision: str | None) -> dict[str, object]:
    """Return what tells a similarity teacher's scores from those of plain dense vectors without prompts."""
    if packaged_model(model) is not None:
        return {}
    try:
        inspected = inspect_model(_location(model, revision))
    except ValueError:  # not on this machine: nothing was scored with it
        return {}

    settings: dict[str, object] = {"prompts": dict(inspected.prompts)} if inspected.prompts else {}
    return settings | ({"vectors": "sparse"} if inspected.kind in ("sparse", "masked") else {})


def _location(model: str, revision: str | None) -> str:
    """Return the folder of a model, or its URI."""
    folder = cached_snapshot(model, revision) if _is_hub_id(model) else None
    return str(folder) if folder else model


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
    if packaged.is_encoder:
        return encoder_folder(packaged)
    return str(made_once(packaged.name, lambda scratch: _dequantise(packaged.file(scratch), scratch)))


def weights_identity(model: str, revision: str | None = None) -> str:
    """What tells a model's weights and tokenizer from any other's, wherever they lie.

    A packaged model is its package's version, a cached Hugging Face id its commit, a folder its content.
    """
    packaged = TEACHER_MODELS.get(model)
    if packaged is not None:
        return packaged.version()
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
    """The copy of a folder that lies elsewhere, under a name that says what it is; a local one itself."""
    filesystem, path = open_uri(uri)
    if isinstance(filesystem, LocalFileSystem):
        return Path(path)
    return made_once(_name_with_content(uri), lambda scratch: local_folder(uri, scratch))


def _is_hub_id(model: str) -> bool:
    return "://" not in model and hub_id(model) == model


def _dequantise(gguf: Path, scratch: Path) -> Path:
    """Return a folder below `scratch` of what the GGUF file holds, in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    folder = scratch / "dequantised"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
