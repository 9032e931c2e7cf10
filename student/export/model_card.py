"""The README.md of a student's folder: what it is, how to load it, what it was made from, on what terms."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import huggingface_hub

from student.config import Kind
from teachers.storage import file_exists, write_text

# What a licence may be for the student to come under its base model's.
_PERMISSIVE = ("apache-2.0", "mit", "bsd-3-clause")
_COUNTS = ("contexts", "responses")

_LOADING = {
    "dense": """\
from sentence_transformers import SentenceTransformer

student = SentenceTransformer("path/to/this/folder")
contexts = student.encode_query(["{context}"], normalize_embeddings=True)
responses = student.encode_document(["{response}", "{other}"], normalize_embeddings=True)
print(student.similarity(contexts, responses))  # [contexts, responses]""",
    "sparse": """\
from sentence_transformers import SparseEncoder

student = SparseEncoder("path/to/this/folder")
contexts = student.encode_query(["{context}"])
responses = student.encode_document(["{response}", "{other}"])
print(student.similarity(contexts, responses))  # [contexts, responses]
print(student.decode(contexts, top_k=5))  # the weightiest terms of each context""",
}
_WHAT = {
    "dense": "It turns both into vectors of length one",
    "sparse": "It turns both into weighted terms of its vocabulary (SPLADE)",
}
_ENCODERS = {
    "shared": "One encoder reads both.",
    "separate": "Contexts and responses have an encoder each, trained together.",
    "frozen_responses": "Contexts and responses have an encoder each; that of the responses is the base "
    "model's, unchanged.",
}
_TAGS = {
    "dense": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense"],
    "sparse": ["sentence-transformers", "sparse-encoder", "sparse", "splade", "feature-extraction"],
}


@dataclass(frozen=True)
class CardSource:
    """Weights or conversations that went into a student."""

    name: str
    role: str
    """Such as `base model` or `generative teacher`."""
    licence: str | None
    """None: unknown."""


@dataclass(frozen=True)
class CardTeacher:
    """A model whose responses or scores made the target distributions."""

    name: str
    model: str
    kind: str
    licence: str | None
    """None: unknown."""


@dataclass(frozen=True)
class CardLoss:
    """A term of the loss."""

    name: str
    weight: float
    temperatures: str
    """Empty where it has none."""


@dataclass(frozen=True)
class ModelCard:
    """What a card says; plain values, for the student's room knows neither teachers nor runs."""

    title: str
    kind: Kind
    encoders: str
    max_tokens: int
    context_turns: int
    base_model: str
    base_model_id: str | None
    """Its id on Hugging Face's Hub, which refuses any other name there."""
    conversations: str
    num_contexts: int
    num_taught_contexts: int
    """Contexts of those that the teachers judged."""
    teachers: Sequence[CardTeacher]
    losses: Sequence[CardLoss]
    settings: Mapping[str, str | float | bool | None]
    metrics: Mapping[str, Mapping[str, float]]
    """System -> metric -> value on held-out conversations; the student's system is `student`."""
    teacher_metrics: Mapping[str, Mapping[str, float]]
    sources: Sequence[CardSource]


def write_model_card(student_uri: str, card: ModelCard) -> None:
    """Replaces the README.md of the student's folder.

    Raises:
        ValueError: there is no student.
    """
    if not file_exists(f"{student_uri}/modules.json"):
        raise ValueError(f"{student_uri} holds no student")
    write_text(f"{student_uri}/README.md", render(card))


def render(card: ModelCard) -> str:
    """The card as Markdown with the front matter of Hugging Face's Hub."""
    body = "\n".join(
        [
            f"# {card.title}\n",
            *_introduction(card),
            "## Trained on\n",
            *_training_data(card),
            "## Training\n",
            *_training(card),
            "## Metrics\n",
            *_metrics(card),
            "## Licences\n",
            *_licences(card),
        ]
    )
    # The Hub's own parser reads the front matter back here.
    return str(huggingface_hub.ModelCard(f"---\n{_front_matter(card).to_yaml()}\n---\n\n{body}"))


def _front_matter(card: ModelCard) -> huggingface_hub.ModelCardData:
    pipeline_tag = "sentence-similarity" if card.kind == "dense" else "feature-extraction"
    measured = {name: value for name, value in card.metrics["student"].items() if name not in _COUNTS}
    return huggingface_hub.ModelCardData(
        base_model=card.base_model_id,
        library_name="sentence-transformers",
        license=_hub_licence(card.sources),
        pipeline_tag=pipeline_tag,
        tags=[*_TAGS[card.kind], "knowledge-distillation", "response-retrieval", "rejoinder"],
        metrics=list(measured),
        model_name=card.title,
        eval_results=[
            huggingface_hub.EvalResult(
                task_type="information-retrieval",
                task_name="Response retrieval",
                dataset_type="unknown",
                dataset_name=f"{card.conversations}, held-out conversations",
                metric_type=name,
                metric_value=round(value, 4),
            )
            for name, value in measured.items()
        ],
    )


def _hub_licence(sources: Sequence[CardSource]) -> str | None:
    """The base model's, if all that the student came from is permissive; else the card names none."""
    if any((source.licence or "").lower() not in _PERMISSIVE for source in sources):
        return None
    return next(
        source.licence.lower() for source in sources if source.role == "base model" and source.licence
    )


def _introduction(card: ModelCard) -> Iterator[str]:
    turns = "newest turn" if card.context_turns == 1 else f"newest {card.context_turns} turns"
    yield (
        f"A retriever of responses to a conversation. {_WHAT[card.kind]}, whose inner product says how well "
        f"the response answers. {_ENCODERS[card.encoders]}\n"
    )
    yield (
        f"A context is the {turns} of a conversation, newest first, a line each. The first {card.max_tokens} "
        "tokens of a text are read."
    )
    context = "and you?" if card.context_turns == 1 else "and you?\\ni like music more than films"
    snippet = _LOADING[card.kind].format(
        context=context, response="i play the guitar a little", other="see you tomorrow"
    )
    yield f"\n```python\n{snippet}\n```\n"


def _training_data(card: ModelCard) -> Iterator[str]:
    rest = card.num_contexts - card.num_taught_contexts
    yield (
        f"It began as {card.base_model} and saw {card.num_contexts:,} contexts with their replies from "
        f"{card.conversations}. Teachers judged the candidates of {card.num_taught_contexts:,} of them"
        f"{f', the other {rest:,} teach by their replies alone' if rest else ''}. The teachers:\n"
    )
    rows = [[t.name, t.model, t.kind, t.licence or "unknown"] for t in card.teachers]
    yield _table(["teacher", "model", "kind", "licence"], rows)


def _training(card: ModelCard) -> Iterator[str]:
    rows = [[loss.name, f"{loss.weight:g}", loss.temperatures] for loss in card.losses]
    yield _table(["loss", "weight", "temperatures"], rows)
    yield _table(["setting", "value"], [[f"`{key}`", _cell(value)] for key, value in card.settings.items()])


def _metrics(card: ModelCard) -> Iterator[str]:
    yield (
        "On held-out conversations. `hits@1/20` ranks the true reply among 20, the other metrics among all "
        "responses.\n"
    )
    yield _metrics_table("system", card.metrics)
    if card.teacher_metrics:
        yield "The teachers on held-out contexts, each ranking the true reply among 20 (entropies in nats):\n"
        yield _metrics_table("teacher", card.teacher_metrics)


def _licences(card: ModelCard) -> Iterator[str]:
    rows = [[s.name, s.role, s.licence or "unknown"] for s in card.sources]
    yield _table(["source", "role", "licence"], rows)
    for source in card.sources:
        if source.licence is None:
            yield f"**The licence of {source.name} is unknown.** Find it out before sharing this student.\n"
        elif source.licence.lower() not in _PERMISSIVE:
            yield (
                f"{source.name}: {source.licence}. Read what they say about models that learn from it "
                "or from its output.\n"
            )


def _metrics_table(first: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(name for values in rows.values() for name in values))
    cells = [
        [system, *(_figure(name, values[name]) if name in values else "" for name in columns)]
        for system, values in rows.items()
    ]
    return _table([first, *columns], cells)


def _figure(name: str, value: float) -> str:
    return f"{value:.0f}" if name in _COUNTS else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table and an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(value: str | float | bool | None) -> str:
    return "none" if value is None else f"{value}"
