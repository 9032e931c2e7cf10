"""From responses to a version of an index: embedded, and with how sure an answer is.

N responses, C contexts, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from serve.config import IndexConfig
from serve.index import IndexContent, write_version
from student.encoders.embedding import Tally, texts_to_vectors
from student.encoders.encoder import EncoderSource, Side
from student.evaluation.abstention import fit_confidence
from student.evaluation.held_out import ContextSample, HeldOut, held_out
from student.evaluation.ranking import NUM_CANDIDATES
from student.evaluation.response_ranking import measure_vectors
from student.evaluation.word_model import WordModel
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
    student: EncoderSource,
    run: str,
    config: IndexConfig,
    context_turns: int,
    tally: Tally,
) -> dict[str, Any]:
    """Embed the responses (RESPONSE_SET), write a version; return its name and the counts by source."""
    vectors = texts_to_vectors({"response": responses["text"].to_pylist()}, student, tally)["response"]
    version = write_version(IndexContent(responses, vectors), student, run, config, context_turns)
    return {"version": version, **_counts(responses)}


def write_confident_index(
    responses: pa.Table,
    validation: ValidationContexts,
    student: EncoderSource,
    run: str,
    config: IndexConfig,
    tally: Tally,
) -> dict[str, Any]:
    """Do the same, and fit on validation how sure an answer is; return `confidence`, too.

    Without 20 distinct validation responses there is none: the responder then answers always.
    """
    contexts = validation.held_out(responses["text"].to_pylist())
    if contexts is None:
        return write_index(responses, student, run, config, validation.sample.context_turns, tally)

    texts: dict[Side, list[str]] = {"context": contexts.contexts, "response": contexts.responses}
    vectors = texts_to_vectors(texts, student, tally)
    measured = measure_vectors(vectors["context"], vectors["response"], contexts)
    words = WordModel.from_texts(contexts.servable())
    hits, cross_entropies = measured.metrics["hits@1/20"], contexts.cross_entropies(words)
    confidence = fit_confidence(measured.best_scores, hits, cross_entropies, config.coverage)

    content = IndexContent(responses, vectors["response"][: len(responses)], confidence, words)
    version = write_version(content, student, run, config, validation.sample.context_turns)
    return {"version": version, **_counts(responses), "confidence": asdict(confidence)}


def _counts(responses: pa.Table) -> dict[str, int]:
    sources = responses["source"].to_pylist()
    return {
        "num_responses": len(responses),
        "num_gold": sources.count("gold"),
        "num_generated": sources.count("generated"),
    }
