"""The README.md of a student's folder: what it is, how to load it, what it learned from, on what terms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from jobs.reports.columns import RANKING, SYSTEM, TEACHER, TEACHER_MEASURES, Column, named_rows, table
from jobs.reports.licences import PERMISSIVE, hub_id, shown_name
from teachers.storage import file_exists, write_text

_TEMPLATE = Path(__file__).parent / "model_card.md.j2"
_COUNTS = ("contexts", "responses")

_TEACHER_KINDS = {
    "vllm": "generative teacher",
    "similarity": "scoring retriever",
    "endpoint": "generative teacher behind an endpoint",
}
# Config key -> (loss, whether it has temperatures).
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
_TAGS = {
    "dense": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense"],
    "sparse": ["sentence-transformers", "sparse-encoder", "sparse", "splade", "feature-extraction"],
}

_MODEL = Column("model", "model")
_KIND = Column("kind", "kind")
_LICENCE = Column("licence", "licence")
_SOURCE = Column("source", "source")
_ROLE = Column("role", "role")
_LOSS = (Column("loss", "loss"), Column("weight", "weight", "g"), Column("temperatures", "temperatures"))
_SETTING = (Column("setting", "setting"), Column("value", "value"))


def card_of(
    run_config: Mapping[str, Any],
    counts: Mapping[str, int],
    metrics: Mapping[str, Any],
    licences: Mapping[str, str | None],
) -> huggingface_hub.ModelCard:
    """The card of a run's student.

    `run_config` is `config` of run.json, `counts` what the stage `candidates` returned, `metrics` what
    `evaluate` did, and `licences` that of each model and of the conversations (see `licences_of`).
    """
    student = run_config["student"]
    num_contexts = counts["training contexts"]
    teacher_metrics = {name: row for name, row in metrics["teachers"].items() if name != "kendall_tau"}
    sources = _sources(run_config, licences)
    tables = {
        "teachers": table("", [TEACHER, _MODEL, _KIND, _LICENCE], _teachers(run_config, licences)),
        "losses": table("", _LOSS, _losses(student)),
        "settings": table("", _SETTING, _settings(run_config)),
        "systems": table("", [SYSTEM, *RANKING], named_rows(SYSTEM, metrics["systems"])),
        "teacher_metrics": table("", [TEACHER, *TEACHER_MEASURES], named_rows(TEACHER, teacher_metrics)),
        "sources": table("", [_SOURCE, _ROLE, _LICENCE], sources),
    }

    card: huggingface_hub.ModelCard = huggingface_hub.ModelCard.from_template(
        _front_matter(run_config, metrics["systems"]["student"], sources),
        template_path=str(_TEMPLATE),
        title=_title(student),
        student=student,
        base_model=shown_name(student["model"]),
        conversations=shown_name(run_config["examples"]["conversations"]),
        num_contexts=num_contexts,
        num_taught_contexts=min(run_config["generate"]["contexts"], num_contexts),
        unknown=[row["source"] for row in sources if row["licence"] == "unknown"],
        restricted=[row for row in sources if row["licence"].lower() not in (*PERMISSIVE, "unknown")],
        has_teacher_metrics=bool(teacher_metrics),
        **{name: "\n".join(rows.markdown()) for name, rows in tables.items()},
    )
    return card


def write_model_card(student_uri: str, card: huggingface_hub.ModelCard) -> None:
    """Replace the README.md of the student's folder.

    Raises:
        ValueError: there is no student.
    """
    if not file_exists(f"{student_uri}/modules.json"):
        raise ValueError(f"{student_uri} holds no student")
    write_text(f"{student_uri}/README.md", str(card))


def _front_matter(
    run_config: Mapping[str, Any], metrics: Mapping[str, float], sources: list[dict[str, str]]
) -> huggingface_hub.ModelCardData:
    student, conversations = run_config["student"], run_config["examples"]["conversations"]
    measured = {name: value for name, value in metrics.items() if name not in _COUNTS}
    results = [
        huggingface_hub.EvalResult(
            task_type="information-retrieval",
            task_name="Response retrieval",
            dataset_type="unknown",
            dataset_name=f"{shown_name(conversations)}, held-out conversations",
            metric_type=name,
            metric_value=round(value, 4),
        )
        for name, value in measured.items()
    ]

    # The student comes under its base model's licence if all that it came from is permissive.
    is_permissive = all(row["licence"].lower() in PERMISSIVE for row in sources)
    return huggingface_hub.ModelCardData(
        base_model=hub_id(student["model"]),  # the Hub refuses any other name
        library_name="sentence-transformers",
        license=sources[0]["licence"].lower() if is_permissive else None,
        pipeline_tag="sentence-similarity" if student["kind"] == "dense" else "feature-extraction",
        tags=[*_TAGS[student["kind"]], "knowledge-distillation", "response-retrieval", "rejoinder"],
        metrics=list(measured),
        model_name=_title(student),
        eval_results=results,
    )


def _title(student: Mapping[str, Any]) -> str:
    return f"{shown_name(student['model'])} distilled by Rejoinder"


def _sources(run_config: Mapping[str, Any], licences: Mapping[str, str | None]) -> list[dict[str, str]]:
    """Weights and conversations that went into the student; the base model first."""
    roles = {run_config["student"]["model"]: "base model"}
    roles[run_config["examples"]["conversations"]] = "conversations"
    for teacher in run_config["teachers"].values():
        roles.setdefault(teacher["model"], _TEACHER_KINDS[teacher["kind"]])
    return [
        {"source": shown_name(name), "role": role, "licence": licences[name] or "unknown"}
        for name, role in roles.items()
    ]


def _teachers(run_config: Mapping[str, Any], licences: Mapping[str, str | None]) -> list[dict[str, str]]:
    rows = []
    for name, teacher in run_config["teachers"].items():
        kind = _TEACHER_KINDS[teacher["kind"]]
        if teacher["kind"] == "vllm" and run_config["finetune"]["epochs"]:
            kind += ", fine-tuned on the training conversations"
        model, licence = shown_name(teacher["model"]), licences[teacher["model"]] or "unknown"
        rows.append({"teacher": name, "model": model, "kind": kind, "licence": licence})
    return rows


def _losses(student: Mapping[str, Any]) -> list[dict[str, Any]]:
    temperatures = f"student {student['student_temperature']:g}, teachers {student['teacher_temperature']:g}"
    return [
        {"loss": loss, "weight": student[key], "temperatures": temperatures if has_temperatures else ""}
        for key, (loss, has_temperatures) in _LOSSES.items()
        if student[key]
    ]


def _settings(run_config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Those that change what the student learns, by their name in the config."""
    student = run_config["student"]
    chosen = {"student": (student, _STUDENT_SETTINGS), "targets": (run_config["targets"], _TARGET_SETTINGS)}
    if run_config["finetune"]["epochs"]:
        chosen["finetune"] = (run_config["finetune"], _FINETUNE_SETTINGS)
    if student["kind"] == "sparse":
        chosen["student.sparsity"] = (student["sparsity"], _SPARSE_SETTINGS)

    rows = []
    for section, (values, keys) in chosen.items():
        for key in keys:
            text = "none" if values[key] is None else str(values[key])
            rows.append({"setting": f"`{section}.{key}`", "value": text})
    return rows
