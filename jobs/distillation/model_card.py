"""The README.md of a student's folder: what it is, how to load it, what it learned from, on what terms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from jobs.reports.columns import RANKING, SYSTEM, TEACHER, TEACHER_MEASURES, named_rows, table
from teachers.licences import PERMISSIVE, hub_id, shown_name
from teachers.storage import file_exists, write_text

_COUNTS = ("contexts", "responses")
_TEACHER_KINDS = {
    "vllm": "generative teacher",
    "similarity": "scoring retriever",
    "endpoint": "generative teacher behind an endpoint",
}
_TAGS = {
    "dense": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense"],
    "sparse": ["sentence-transformers", "sparse-encoder", "sparse", "splade", "feature-extraction"],
}


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
    teacher_metrics = {name: row for name, row in metrics["teachers"].items() if name != "kendall_tau"}
    systems = table("", [SYSTEM, *RANKING], named_rows(SYSTEM, metrics["systems"]))
    teachers = table("", [TEACHER, *TEACHER_MEASURES], named_rows(TEACHER, teacher_metrics))

    # Weights and conversations that went into the student; the base model first.
    roles = {run_config["student"]["model"]: "base model"}
    roles[run_config["examples"]["conversations"]] = "conversations"
    for teacher in run_config["teachers"].values():
        roles.setdefault(teacher["model"], _TEACHER_KINDS[teacher["kind"]])
    named_licences = {name: licences[name] or "unknown" for name in roles}

    card: ModelCard = ModelCard.from_template(
        _front_matter(run_config, metrics["systems"]["student"], list(named_licences.values())),
        template_path=str(Path(__file__).parent / "model_card.md.j2"),
        config=run_config,
        student=run_config["student"],
        num_contexts=counts["training contexts"],
        names={name: shown_name(name) for name in roles},
        roles=roles,
        kinds=_TEACHER_KINDS,
        licences=named_licences,
        permissive=PERMISSIVE,
        systems="\n".join(systems.markdown()),
        teacher_metrics="\n".join(teachers.markdown()) if teacher_metrics else "",
    )
    return card


def write_model_card(student_uri: str, card: ModelCard) -> None:
    """Replace the README.md of the student's folder.

    Raises:
        ValueError: there is no student.
    """
    if not file_exists(f"{student_uri}/modules.json"):
        raise ValueError(f"{student_uri} holds no student")
    write_text(f"{student_uri}/README.md", str(card))


def _front_matter(
    run_config: Mapping[str, Any], metrics: Mapping[str, float], licences: list[str]
) -> ModelCardData:
    student, conversations = run_config["student"], run_config["examples"]["conversations"]
    results = []
    for name, value in metrics.items():
        if name in _COUNTS:
            continue
        results.append(
            EvalResult(
                task_type="information-retrieval",
                task_name="Response retrieval",
                dataset_type="unknown",
                dataset_name=f"{shown_name(conversations)}, held-out conversations",
                metric_type=name,
                metric_value=round(value, 4),
            )
        )

    # The student comes under its base model's licence if all that it came from is permissive.
    is_permissive = all(licence.lower() in PERMISSIVE for licence in licences)
    return ModelCardData(
        base_model=hub_id(student["model"]),  # the Hub refuses any other name
        library_name="sentence-transformers",
        license=licences[0].lower() if is_permissive else None,
        pipeline_tag="sentence-similarity" if student["kind"] == "dense" else "feature-extraction",
        tags=[*_TAGS[student["kind"]], "knowledge-distillation", "response-retrieval", "rejoinder"],
        metrics=[result.metric_type for result in results],
        model_name=f"{shown_name(student['model'])} distilled by Rejoinder",
        eval_results=results,
    )
