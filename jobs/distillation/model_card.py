"""What a run's config and results say in its student's model card."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import yaml

from student.export.model_card import CardLoss, CardSource, CardTeacher, ModelCard
from teachers.packaged_models import PACKAGED_MODELS

SERVED_ELSEWHERE = "served elsewhere; its terms apply"

# As the package says.
_CORPUS_LICENCES = {"chitchat-dataset": "MIT"}
_TEACHER_KINDS = {
    "vllm": "generative teacher",
    "similarity": "scoring retriever",
    "endpoint": "generative teacher behind an endpoint",
}
_LOSSES = {
    "cross_entropy_weight": ("cross-entropy of the gold and generated responses", False),
    "kl_weight": ("KL divergence from the teachers' distribution", True),
    "margin_mse_weight": ("squared error of the margins", True),
    "embedding_mse_weight": ("squared distance to the candidates' vectors", True),
}
_STUDENT_SETTINGS = (
    "similarity_scale",
    "learning_rate",
    "epochs",
    "global_batch_size",
    "accumulation_steps",
    "max_candidates",
    "random_negatives",
    "num_workers",
    "zero_stage",
    "precision",
    "early_stopping",
    "seed",
)
_SPARSE_SETTINGS = ("context_terms", "response_terms", "flops", "regulariser")
_FINETUNE_SETTINGS = ("epochs", "learning_rate", "sequences_per_step")
_TARGET_SETTINGS = ("normalisation", "z_score", "temperature", "combination")


def card_of(
    run_config: Mapping[str, Any],
    counts: Mapping[str, int],
    metrics: Mapping[str, Any],
    licences: Mapping[str, str | None],
) -> ModelCard:
    """The card of a run's student.

    `run_config` is `config` of run.json, `counts` what the stage `candidates` returned, `metrics` what
    `evaluate` did, and `licences` that of each model and of the conversations (see `licences_of`).
    """
    student = run_config["student"]
    conversations, base = run_config["examples"]["conversations"], student["model"]
    teachers = run_config["teachers"]
    sources = {base: "base model", conversations: "conversations"}
    for teacher in teachers.values():
        sources.setdefault(teacher["model"], _TEACHER_KINDS[teacher["kind"]])
    return ModelCard(
        title=f"{shown_name(base)} distilled by Rejoinder",
        kind=student["kind"],
        encoders=student["encoders"],
        max_tokens=student["max_tokens"],
        context_turns=student["context_turns"],
        base_model=shown_name(base),
        base_model_id=_hub_id(base),
        conversations=shown_name(conversations),
        num_contexts=counts["training contexts"],
        num_taught_contexts=min(run_config["generate"]["contexts"], counts["training contexts"]),
        teachers=[
            CardTeacher(
                name, shown_name(teacher["model"]), _kind_of(teacher, run_config), licences[teacher["model"]]
            )
            for name, teacher in teachers.items()
        ],
        losses=_losses(student),
        settings=_settings(run_config),
        metrics=metrics["systems"],
        teacher_metrics={
            name: values for name, values in metrics["teachers"].items() if name != "kendall_tau"
        },
        sources=[CardSource(shown_name(name), role, licences[name]) for name, role in sources.items()],
    )


def _kind_of(teacher: Mapping[str, Any], run_config: Mapping[str, Any]) -> str:
    """What kind of model a teacher is, and that it was fine-tuned where it was."""
    kind = _TEACHER_KINDS[teacher["kind"]]
    finetuned = teacher["kind"] == "vllm" and run_config["finetune"]["epochs"]
    return f"{kind}, fine-tuned on the training conversations" if finetuned else kind


def licences_of(run_config: Mapping[str, Any]) -> dict[str, str | None]:
    """The licence of every model and of the conversations that `run_config` names; None: unknown."""
    models = [run_config["student"]["model"], run_config["examples"]["conversations"]]
    return {model: licence_of(model) for model in models} | licences_of_teachers(run_config["teachers"])


def licences_of_teachers(teachers: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """The licence of every teacher's model, of `teachers` in a run's config; None: unknown."""
    return {
        teacher["model"]: SERVED_ELSEWHERE if teacher["kind"] == "endpoint" else licence_of(teacher["model"])
        for teacher in teachers.values()
    }


def licence_of(model: str) -> str | None:
    """What a package, or the README.md of a folder or of a cached Hugging Face model, says; None: unknown."""
    if model in PACKAGED_MODELS:
        return PACKAGED_MODELS[model].licence
    if model in _CORPUS_LICENCES:
        return _CORPUS_LICENCES[model]
    readme: Any = Path(model) / "README.md"
    if not Path(model).is_dir() and _is_id(model):
        readme = huggingface_hub.try_to_load_from_cache(model, "README.md")
    if not isinstance(readme, str | Path) or not Path(readme).is_file():
        return None
    try:
        front_matter = huggingface_hub.metadata_load(readme) or {}
    except (ValueError, yaml.YAMLError):  # somebody else's file, of which no more is wanted than this
        return None
    licence = front_matter.get("license")
    licence = front_matter.get("license_name", licence) if licence == "other" else licence
    return ", ".join(licence) if isinstance(licence, list) else licence


def _losses(student: Mapping[str, Any]) -> list[CardLoss]:
    temperatures = f"student {student['student_temperature']:g}, teachers {student['teacher_temperature']:g}"
    return [
        CardLoss(name, student[key], temperatures if has_temperatures else "")
        for key, (name, has_temperatures) in _LOSSES.items()
        if student[key]
    ]


def _settings(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Those that change what the student learns, by their name in the config."""
    student, targets = run_config["student"], run_config["targets"]
    settings = {f"student.{key}": student[key] for key in _STUDENT_SETTINGS}
    if run_config["finetune"]["epochs"]:
        settings |= {f"finetune.{key}": run_config["finetune"][key] for key in _FINETUNE_SETTINGS}
    if student["kind"] == "sparse":
        settings |= {f"student.sparsity.{key}": student["sparsity"][key] for key in _SPARSE_SETTINGS}
    return settings | {f"targets.{key}": targets[key] for key in _TARGET_SETTINGS}


def shown_name(name: str) -> str:
    """A packaged name or a Hub id as it is; of a path or URI, which is nobody else's business, the end."""
    return name if _hub_id(name) else name.rstrip("/").rsplit("/", 1)[-1]


def _hub_id(model: str) -> str | None:
    if model in PACKAGED_MODELS:
        return PACKAGED_MODELS[model].hub_id
    return model if _is_id(model) and not Path(model).exists() else None


def _is_id(model: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None
