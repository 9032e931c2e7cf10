"""The bodies of HTTP answers, from the responses that a responder retrieved."""

import math

from serve.responder import Answer, Responder
from serve.schemas import FoundDocument, RespondAnswer, ResponseAnswer, SearchAnswer


def best_text(retrieved: Answer) -> str | None:
    """The text most similar to the conversation; None where nothing is similar."""
    if not retrieved.responses or not retrieved.responses[0].score:
        return None
    return retrieved.responses[0].text


def answer_above(retrieved: Answer, min_score: float | None, responder: Responder) -> RespondAnswer:
    """The responses of at least `min_score`, the best as the answer; the reason where there is none.

    Without a `min_score` there is none for a last turn whose words are too unusual among the responses. Near
    copies of a turn come last whatever their score: where the first is not good enough, none is.
    """
    least = -math.inf if min_score is None else min_score
    best_score = retrieved.responses[0].score if retrieved.responses else -math.inf
    unusual = None if min_score is not None else _unusual(retrieved, responder)

    responses: list[ResponseAnswer] = []
    for response in retrieved.responses if best_score >= least and unusual is None else ():
        if response.score >= least:
            responses.append(
                ResponseAnswer(
                    id=response.response_id,
                    text=response.text,
                    score=response.score,
                    source=response.source,
                    teacher=response.teacher,
                )
            )

    reason = None
    if not retrieved.responses:
        reason = "there is no response of these sources that the conversation has not said"
    elif unusual is not None:
        reason = unusual
    elif not responses:
        reason = f"the best score is {best_score:.4f}, below min_score {min_score:.4f}"

    confidence = None
    if retrieved.responses and responder.confidence is not None:
        confidence = responder.confidence.probability(best_score)

    return RespondAnswer(
        answer=responses[0].text if responses else None,
        confidence=confidence,
        reason=reason,
        source=responses[0].source if responses else None,
        responses=responses,
        version=responder.version,
    )


def _unusual(retrieved: Answer, responder: Responder) -> str | None:
    """Why the last turn gets no answer, if its words are too unusual."""
    if responder.confidence is None or retrieved.cross_entropy is None:
        return None

    most = responder.confidence.max_cross_entropy
    if retrieved.cross_entropy <= most:
        return None
    return (
        "the words of the last message are unusual among the responses: "
        f"{retrieved.cross_entropy:.1f} nats per word, above {most:.1f}"
    )


def search_answer(retrieved: Answer, version: str) -> SearchAnswer:
    """The retrieved responses as documents."""
    documents = [
        FoundDocument(doc_id=response.response_id, text=response.text, score=response.score)
        for response in retrieved.responses
    ]
    return SearchAnswer(documents=documents, version=version)
