"""Models that a config names by a Hugging Face id: downloaded once per machine.

Jobs run with HF_HUB_OFFLINE, so that no library fetches what nobody named. So a download is a process of its
own: python -m teachers.engines.hub ID [REVISION] prints the folder, or one line on what is wrong.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

# The same weights in other formats.
_NOT_NEEDED = [
    "*.onnx",
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.pth",
    "onnx/*",
    "openvino/*",
    "original/*",
    "consolidated*",
]


def snapshot(model: str, revision: str | None) -> Path:
    """Return the folder of a model in the Hugging Face cache, named by its commit; download what is missing.

    Without a revision it is the commit that was downloaded last, or the newest where there is none.

    Raises:
        ValueError: there is no such model or revision, it is gated, or nothing can be downloaded.
    """
    folder = cached_snapshot(model, revision)
    if folder is not None and _has_weights(folder):
        return folder

    command = [sys.executable, "-m", "teachers.engines.hub", model, *([revision] if revision else [])]
    # Progress goes to stderr, as the library draws it.
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    download = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    lines = download.stdout.splitlines()
    if download.returncode or not lines:
        raise ValueError(
            lines[-1] if lines else f"{model!r}: its download ended with status {download.returncode}"
        )
    return Path(lines[-1])


def cached_snapshot(model: str, revision: str | None = None) -> Path | None:
    """Return the folder of a model's revision in the cache, whatever it has; None where there is none."""
    from huggingface_hub import try_to_load_from_cache

    for name in ("config.json", "tokenizer_config.json", "modules.json"):
        file = try_to_load_from_cache(model, name, revision=revision)
        if isinstance(file, str):
            return Path(file).parent
    return None


def _has_weights(folder: Path) -> bool:
    """Whether all files of the weights are there: a download that was cut off leaves some."""
    for index in (*folder.glob("*.safetensors.index.json"), *folder.glob("*.bin.index.json")):
        return all((folder / name).is_file() for name in json.loads(index.read_text())["weight_map"].values())
    # Without a config.json the modules of sentence-transformers have folders of their own.
    below = "" if (folder / "config.json").is_file() else "*/"
    return any(file for pattern in ("*.safetensors", "*.bin") for file in folder.glob(f"{below}{pattern}"))


def download(model: str, revision: str | None) -> str:
    """Download a model's files that are not in the cache; return their folder.

    Raises:
        ValueError: as `snapshot` does.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{model}"
    try:
        files = HfApi().model_info(model, revision=revision).siblings or []
        has_safetensors = any(file.rfilename.endswith(".safetensors") for file in files)
        other_formats = ["*.bin"] if has_safetensors else []
        return str(snapshot_download(model, revision=revision, ignore_patterns=_NOT_NEEDED + other_formats))
    except GatedRepoError:
        problem = f"is gated: accept its terms at {page} and set HF_TOKEN to a token of that account"
    except RevisionNotFoundError:
        problem = f"has no revision {revision!r} at {page}"
    except RepositoryNotFoundError:
        problem = "is not on Hugging Face, or private: then set HF_TOKEN"
    except Exception as error:  # of the HTTP client, the disk and others: this process has one line for all
        [reason, *_] = str(error).splitlines() or [type(error).__name__]
        problem = f"is not in the local Hugging Face cache, and was not downloaded: {reason}"
    raise ValueError(f"{model!r} {problem}") from None


if __name__ == "__main__":
    try:
        print(download(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
    except ValueError as error:
        print(error)
        sys.exit(1)
