"""The licences that a student's card names."""

from collections.abc import Mapping
from typing import Any

from teachers.licences import licence_of, licences_of_teachers


def licences_of(run_config: Mapping[str, Any]) -> dict[str, str | None]:
    """The licence of every model and of the conversations that `run_config` names; None: unknown."""
    models = [run_config["student"]["model"], run_config["examples"]["conversations"]]
    return {model: licence_of(model) for model in models} | licences_of_teachers(run_config["teachers"])
