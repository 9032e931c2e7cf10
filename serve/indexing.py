"""From responses to a version of an index: embedded, and with how sure an answer is.

N responses, C contexts, D dimensions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from serve.config import IndexConfig
from serve.index import IndexContent, Reranker, write_version
from student.encoders.embedding import Tally, texts_to_vectors_of_each
from student.encoders.encoder import Side, Vectors
from student.evaluation.abstention import fit_confidence
from student.evaluation.held_out import ContextSample, HeldOut, held_out
from student.evaluation.ranking import NUM_CANDIDATES
from student.evaluation.response_ranking import measure_vectors
from student.evaluation.word_model import WordModel
from student.retrieval.reranking import Ranker, Reranked, encoders_of
from teachers.dataset import read_rows


@dataclass(frozen=True)
class ValidationContexts:
    """The validation contexts that a confidence is fitted on."""

    examples_uri: str
    sample: ContextSample

    def held_out(self, response_set: Sequence[str]) -> HeldOut | None:
        """Return the contexts with `response_set`; None where too few responses can be ranked."""
        rows = read_rows(self.examples_uri, "validation")
        if len({row["gold_response"] for row in rows}) < NUM_CANDIDATES:
            return None
        return held_out(self.examples_uri, response_set, "validation", self.sample)


def write_index(
    responses: pa.Table,
    ranker: Ranker,
    run: str,
    config: IndexConfig,
    context_turns: int,
    tally: Tally,
) -> dict[str, Any]:
    """Embed the responses (RESPONSE_SET), write a version; return its name and the counts by source."""
    texts: dict[Side, list[str]] = {"response": responses["text"].to_pylist()}
    embedded = texts_to_vectors_of_each(texts, encoders_of(ranker), tally)
    content = _content(responses, ranker, embedded)
    version = write_version(content, encoders_of(ranker)[0], run, config, context_turns)
    return {"version": version, **_counts(responses)}


def write_confident_index(
    responses: pa.Table,
    validation: ValidationContexts,
    ranker: Ranker,
    run: str,
    config: IndexConfig,
    tally: Tally,
) -> dict[str, Any]:
    """Do the same, and fit on validation how sure an answer is; return `confidence`, too.

    Without 20 distinct validation responses there is none: the responder then answers always.
    """
    contexts = validation.held_out(responses["text"].to_pylist())
    if contexts is None:
        return write_index(responses, ranker, run, config, validation.sample.context_turns, tally)

    texts: dict[Side, list[str]] = {"context": contexts.contexts, "response": contexts.responses}
    embedded = texts_to_vectors_of_each(texts, encoders_of(ranker), tally)
    encoded = [(vectors["context"], vectors["response"]) for vectors in embedded]
    measured = measure_vectors(ranker, encoded, contexts)
    words = WordModel.from_texts(contexts.servable())
    hits, cross_entropies = measured.metrics["hits@1/20"], contexts.cross_entropies(words)
    confidence = fit_confidence(measured.best_scores, hits, cross_entropies, config.coverage)

    content = replace(_content(responses, ranker, embedded), confidence=confidence, words=words)
    version = write_version(content, encoders_of(ranker)[0], run, config, validation.sample.context_turns)
    return {"version": version, **_counts(responses), "confidence": asdict(confidence)}


def _content(responses: pa.Table, ranker: Ranker, embedded: Sequence[Mapping[Side, Vectors]]) -> IndexContent:
    """An index of the responses, which are the first of those that the ranker's encoders have embedded."""
    vectors = [vectors_of_encoder["response"][: len(responses)] for vectors_of_encoder in embedded]
    if not isinstance(ranker, Reranked):
        return IndexContent(responses, vectors[0])
    return IndexContent(responses, vectors[0], reranker=Reranker(ranker.reranker, vectors[1], ranker.depth))


def _counts(responses: pa.Table) -> dict[str, int]:
    sources = responses["source"].to_pylist()
    return {
        "num_responses": len(responses),
        "num_gold": sources.count("gold"),
        "num_generated": sources.count("generated"),
    }
