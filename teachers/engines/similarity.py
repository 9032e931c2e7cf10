"""A frozen retriever or cross-encoder as a teacher: it scores by similarity and writes nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from teachers.config import GenerateConfig, SimilarityTeacher
from teachers.corpora.conversations import Message
from teachers.engines.protocol import DEFAULT_MAX_TOKENS, Generation, Group, PairScore, Prompt
from teachers.engines.sanity import echoes_preferred
from teachers.engines.weights import model_folder


class Similarity:
    """A running sentence-transformers model."""

    def __init__(self, name: str, config: SimilarityTeacher) -> None:
        import torch
        from sentence_transformers import CrossEncoder, SentenceTransformer

        torch.set_num_threads(config.num_cpus)
        self.name = name
        self.config = config
        folder = model_folder(config.model, config.revision)
        device = "cuda" if config.num_gpus else "cpu"
        self._is_cross_encoder = is_cross_encoder(folder)
        self._model: Any = (CrossEncoder if self._is_cross_encoder else SentenceTransformer)(
            folder, device=device
        )
        self._model.max_seq_length = config.max_tokens

    def check(self, scores: bool = True, max_tokens: int = DEFAULT_MAX_TOKENS) -> str:
        """One line: the similarities of a fitting reply, an unfitting one, and whether of echoes more.

        Raises:
            ValueError: a similarity is no number.
        """
        question: list[Message] = [{"role": "user", "content": "Do you like music?"}]
        replies = ["Yes, I play the guitar.", "The parcel arrives on Tuesday."]
        [pair] = self.score([Group(question, replies)])
        fitting, other = (score.similarity for score in pair)
        if fitting is None or other is None or fitting != fitting or other != other:
            raise ValueError(f"teachers.{self.name}: expected numbers as similarities, got NaN")
        kind = "cross-encoder" if self._is_cross_encoder else "retriever"
        return (
            f"{self.name}: {kind}, similarity {fitting:.2f} of a fitting reply, {other:.2f} of another, "
            f"{echoes_preferred(self.score)}"
        )

    def generate(self, prompts: Sequence[Prompt], config: GenerateConfig) -> list[Generation]:
        raise AssertionError("a retriever writes nothing")

    def score(self, groups: Sequence[Group]) -> list[list[PairScore]]:
        """The similarity of each group's responses to its context; an empty context has none."""
        pairs = [(self._text(group.context), text) for group in groups for text in group.responses]
        similarities = iter(self._similarities(pairs) if pairs else [])

        scores = []
        for group in groups:
            scores.append([PairScore(similarity=float(next(similarities))) for _ in group.responses])
        return scores

    def _similarities(self, pairs: list[tuple[str, str]]) -> Any:
        if self._is_cross_encoder:
            return self._model.predict(pairs, show_progress_bar=False)
        # Contexts and candidates come back within a batch: each text is encoded once.
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        row = {text: number for number, text in enumerate(texts)}
        vectors = self._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        contexts, responses = ([row[pair[side]] for pair in pairs] for side in (0, 1))
        return (vectors[contexts] * vectors[responses]).sum(axis=1)

    def _text(self, context: list[Message]) -> str:
        # Newest turn first, as an encoder cuts a long text at its end.
        return "\n".join(message["content"] for message in reversed(context[-self.config.context_turns :]))


def is_cross_encoder(folder: str) -> bool:
    """Whether a model classifies pairs of texts instead of embedding single ones."""
    architectures = json.loads((Path(folder) / "config.json").read_text()).get("architectures") or [""]
    return str(architectures[0]).endswith("ForSequenceClassification")
