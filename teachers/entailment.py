"""Does a text follow from another? A cross-encoder for natural language inference says how likely."""

from teachers.turn_checks import Entails


def entailment(model: str | None) -> Entails | None:
    """The judgement of a sentence-transformers cross-encoder, a folder or a cached id; None without one.

    Raises:
        ValueError: it has no label `entailment`.
    """
    if model is None:
        return None
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(model)
    labels = {label.lower(): place for place, label in encoder.config.id2label.items()}
    if "entailment" not in labels:
        raise ValueError(
            f"checks.entailment_model: {model} has the labels {', '.join(labels)}, no entailment"
        )

    def entails(premise: str, hypothesis: str) -> float:
        [probabilities] = encoder.predict([(premise, hypothesis)], apply_softmax=True)
        return float(probabilities[labels["entailment"]])

    return entails
