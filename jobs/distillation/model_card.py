"""The card of a run's student, with the figures and licences of the run."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard

from jobs.reports.columns import ECHOES, RANKING, SYSTEM, TEACHER, TEACHER_MEASURES, named_rows, table
from student.export.model_card import Source, Tables, model_card, write_model_card
from teachers.licences import hub_id, shown_name

__all__ = ["card_of", "write_model_card"]


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
    systems = table("", [SYSTEM, *RANKING, *ECHOES], named_rows(SYSTEM, metrics["systems"]))
    teachers = table("", [TEACHER, *TEACHER_MEASURES], named_rows(TEACHER, teacher_metrics))
    tables = Tables("\n".join(systems.markdown()), "\n".join(teachers.markdown()) if teacher_metrics else "")

    sources = {name: Source(shown_name(name), licence or "unknown") for name, licence in licences.items()}
    base_model, student_metrics = run_config["student"]["model"], metrics["systems"]["student"]
    num_contexts = counts["training contexts"]
    return model_card(run_config, sources, hub_id(base_model), num_contexts, student_metrics, tables)
