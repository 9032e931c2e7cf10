"""A frozen retriever or cross-encoder as a teacher: it scores by similarity and writes nothing."""

from collections.abc import Sequence
from typing import Any

from teachers.config import GenerateConfig, SimilarityTeacher
from teachers.corpora.conversations import Message
from teachers.engines.protocol import DEFAULT_MAX_TOKENS, Generation, Group, PairScore, Prompt
from teachers.engines.sanity import echoes_preferred
from teachers.engines.weights import check_similarity_model, model_folder
from teachers.model_folders import Task, inspect_model, limit_tokens, side_prompts

_NAMES = {"cross-encoder": "cross-encoder", "sparse": "sparse retriever", "masked": "sparse retriever"}


class Similarity:
    """A running sentence-transformers model."""

    def __init__(self, name: str, config: SimilarityTeacher) -> None:
        import torch
        from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder

        torch.set_num_threads(config.num_cpus)
        self.name = name
        self.config = config
        folder = model_folder(config.model, config.revision)
        model = inspect_model(folder)
        check_similarity_model(config.model, model)

        # A masked language model is SPLADE's: averaged over tokens it was never trained to be.
        classes = {"cross-encoder": CrossEncoder, "sparse": SparseEncoder, "masked": SparseEncoder}
        model_class: Any = classes.get(model.kind, SentenceTransformer)
        self._kind = model.kind
        self._model: Any = model_class(folder, device="cuda" if config.num_gpus else "cpu")
        limit_tokens(self._model, config.max_tokens, model.positions)

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
        return (
            f"{self.name}: {_NAMES.get(self._kind, 'retriever')}, similarity {fitting:.2f} of a fitting "
            f"reply, {other:.2f} of another, {echoes_preferred(self.score)}"
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
        """Return the score of each pair: a cross-encoder's, a cosine, or sparse vectors' inner product."""
        if self._kind == "cross-encoder":
            return self._model.predict(pairs, show_progress_bar=False).reshape(len(pairs))

        contexts, responses = zip(*pairs, strict=True)
        return (self._vectors(contexts, "query") * self._vectors(responses, "document")).sum(axis=1)

    def _vectors(self, texts: Sequence[str], task: Task) -> Any:
        """Return the vectors of texts, each with the prompt and the route that the model has for the task."""
        # Contexts and candidates come back within a batch: each text is encoded once.
        distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        prompts = side_prompts(self._model.prompts, self._model.default_prompt_name)
        options: dict[str, Any] = {"prompt": prompts[task], "task": task, "show_progress_bar": False}
        rows = [distinct[text] for text in texts]
        if self._kind in ("sparse", "masked"):
            vectors = self._model.encode(list(distinct), convert_to_sparse_tensor=False, **options)
            return vectors.cpu().numpy()[rows]
        return self._model.encode(list(distinct), normalize_embeddings=True, **options)[rows]

    def _text(self, context: list[Message]) -> str:
        # Newest turn first, as an encoder cuts a long text at its end.
        return "\n".join(message["content"] for message in reversed(context[-self.config.context_turns :]))
