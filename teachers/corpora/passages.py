"""Documents cut into passages of whole sentences, for turns to be about."""

import re

_MIN_SPAN_WORDS = 8
_SENTENCE = re.compile(r"\S.*?(?:[.!?…]+[\"'”’)\]]*(?=\s)|$)", re.DOTALL)


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence of the text."""
    return [found.span() for found in _SENTENCE.finditer(text)]


def passages(text: str, max_words: int) -> list[str]:
    """Consecutive sentences, together of at most `max_words` words; a longer sentence is cut."""
    found: list[str] = []
    now: list[str] = []
    for start, end in sentences(text):
        sentence = text[start:end].split()[:max_words]
        if now and len(now) + len(sentence) > max_words:
            found.append(" ".join(now))
            now = []
        now += sentence
    return [*found, " ".join(now)] if now else found


def spans(passage: str) -> list[tuple[int, int]]:
    """Start and end of each part that stands alone: a sentence, with the next where it is short."""
    found: list[tuple[int, int]] = []
    begun: int | None = None
    for start, end in sentences(passage):
        begun = start if begun is None else begun
        if len(passage[begun:end].split()) >= _MIN_SPAN_WORDS:
            found.append((begun, end))
            begun = None
    if begun is not None:  # a short rest belongs to what is before it
        found = [*found[:-1], (found[-1][0] if found else begun, len(passage))]
    return found
