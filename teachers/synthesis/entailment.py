"""Entailment: the probability that a text follows from another, by a cross-encoder."""

from typing import Any

from teachers.engines.weights import check_model, model_folder
from teachers.model_folders import inspect_model, limit_tokens
from teachers.synthesis.turn_checks import Entails


def check_entailment(model: str) -> None:
    """Raises ValueError where the weights are not on this machine, or have no label `entailment`."""
    from transformers import AutoConfig

    check_model(model)
    labels = AutoConfig.from_pretrained(model_folder(model)).id2label
    if "entailment" not in map(str.lower, labels.values()):
        raise ValueError(f"{model}: expected a label `entailment`, got {', '.join(labels.values())}")


def entailment(model: str | None) -> Entails | None:
    """Return the probabilities by a sentence-transformers cross-encoder on the CPU; None without a model.

    `model` is a folder or a cached id that has passed `check_entailment`.
    """
    if model is None:
        return None

    from sentence_transformers import CrossEncoder

    folder = model_folder(model)
    encoder: Any = CrossEncoder(folder, device="cpu")  # writers reserve no GPU
    limit_tokens(encoder, encoder.max_seq_length, inspect_model(folder).positions)
    labels = {label.lower(): place for place, label in encoder.config.id2label.items()}

    def entails(premise: str, hypothesis: str) -> float:
        [probabilities] = encoder.predict([(premise, hypothesis)], apply_softmax=True)
        return float(probabilities[labels["entailment"]])

    return entails
