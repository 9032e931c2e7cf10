"""The README.md of a student's folder: what it is, how to load it, what it learned from, on what terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from teachers.storage import file_exists, write_text

# Licences under which a model may be used by whoever learns from it; in lower case.
_PERMISSIVE = ("apache-2.0", "mit", "bsd-3-clause")
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


@dataclass(frozen=True)
class Source:
    """A model, or conversations, that went into a student."""

    name: str
    """As it is shown."""
    licence: str
    """`unknown` where nothing says it."""


@dataclass(frozen=True)
class Tables:
    """Metrics as Markdown tables; empty where there are none."""

    systems: str
    teachers: str


def model_card(
    run_config: Mapping[str, Any],
    sources: Mapping[str, Source],
    hub_id: str | None,
    num_contexts: int,
    metrics: Mapping[str, float],
    tables: Tables,
) -> ModelCard:
    """Return the card of a run's student.

    `sources` are by the names in `run_config`, the base model first; `hub_id` is the base model's, and
    `metrics` are the student's.
    """
    roles = {run_config["student"]["model"]: "base model"}
    roles[run_config["examples"]["conversations"]] = "conversations"
    for teacher in run_config["teachers"].values():
        roles.setdefault(teacher["model"], _TEACHER_KINDS[teacher["kind"]])

    card: ModelCard = ModelCard.from_template(
        _front_matter(run_config, sources, hub_id, metrics),
        template_path=str(Path(__file__).parent / "model_card.md.j2"),
        config=run_config,
        student=run_config["student"],
        num_contexts=num_contexts,
        sources=sources,
        roles=roles,
        kinds=_TEACHER_KINDS,
        permissive=_PERMISSIVE,
        tables=tables,
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
    run_config: Mapping[str, Any],
    sources: Mapping[str, Source],
    hub_id: str | None,
    metrics: Mapping[str, float],
) -> ModelCardData:
    student, conversations = run_config["student"], sources[run_config["examples"]["conversations"]]
    results = []
    for name, value in metrics.items():
        if name in _COUNTS:
            continue
        results.append(
            EvalResult(
                task_type="information-retrieval",
                task_name="Response retrieval",
                dataset_type="unknown",
                dataset_name=f"{conversations.name}, held-out conversations",
                metric_type=name,
                metric_value=round(value, 4),
            )
        )

    # The student comes under its base model's licence if all that it came from is permissive.
    licences = [source.licence.lower() for source in sources.values()]
    return ModelCardData(
        base_model=hub_id,  # the Hub refuses any other name
        library_name="sentence-transformers",
        license=licences[0] if set(licences) <= set(_PERMISSIVE) else None,
        pipeline_tag="sentence-similarity" if student["kind"] == "dense" else "feature-extraction",
        tags=[*_TAGS[student["kind"]], "knowledge-distillation", "response-retrieval", "rejoinder"],
        metrics=[result.metric_type for result in results],
        model_name=f"{sources[student['model']].name} distilled by Rejoinder",
        eval_results=results,
    )
