"""Passages of documents, made of whole sentences: what a synthesised turn is about."""

import re

_MIN_SPAN_WORDS = 8
_SENTENCE = re.compile(r"\S.*?(?:[.!?…]+[\"'”’)\]]*(?=\s)|$)", re.DOTALL)


def sentences(text: str) -> list[tuple[int, int]]:
    """Return start and end of each sentence of the text."""
    return [match.span() for match in _SENTENCE.finditer(text)]


def passages(text: str, max_words: int) -> list[str]:
    """Return runs of consecutive sentences of at most `max_words` words; a longer sentence is cut."""
    complete: list[str] = []
    words: list[str] = []

    for start, end in sentences(text):
        sentence = text[start:end].split()[:max_words]
        if words and len(words) + len(sentence) > max_words:
            complete.append(" ".join(words))
            words = []
        words += sentence

    return [*complete, " ".join(words)] if words else complete


def spans(passage: str) -> list[tuple[int, int]]:
    """Return start and end of each span that stands alone: a sentence, with the next where it is short."""
    complete: list[tuple[int, int]] = []
    span_start: int | None = None

    for start, end in sentences(passage):
        span_start = start if span_start is None else span_start
        if len(passage[span_start:end].split()) >= _MIN_SPAN_WORDS:
            complete.append((span_start, end))
            span_start = None

    if span_start is not None:  # a short rest belongs to the span before it
        last_start = complete[-1][0] if complete else span_start
        complete = [*complete[:-1], (last_start, len(passage))]
    return complete
