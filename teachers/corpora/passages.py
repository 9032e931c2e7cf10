"""Passages of documents, made of whole sentences: what a synthesised turn is about."""

from collections.abc import Iterator

from teachers.words import sentence_spans, word_spans, words

_MIN_SPAN_WORDS = 8


def passages(text: str, max_words: int) -> list[str]:
    """Return runs of consecutive sentences of at most `max_words` words; a longer sentence makes several."""
    runs: list[tuple[int, int]] = []
    num_words = 0
    for start, end in _pieces(text, max_words):
        more_words = len(words(text[start:end]))
        if runs and num_words + more_words <= max_words:
            runs[-1] = (runs[-1][0], end)
            num_words += more_words
        else:
            runs.append((start, end))
            num_words = more_words
    return [" ".join(text[start:end].split()) for start, end in runs]


def _pieces(text: str, max_words: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each sentence, or of each `max_words` words of a longer one."""
    for sentence_start, sentence_end in sentence_spans(text):
        starts = [start for start, _ in word_spans(text[sentence_start:sentence_end])][::max_words]
        borders = [sentence_start + start for start in starts[1:]]
        yield from zip([sentence_start, *borders], [*borders, sentence_end], strict=True)


def spans(passage: str) -> list[tuple[int, int]]:
    """Return start and end of each span that stands alone: a sentence, with the next where it is short."""
    complete: list[tuple[int, int]] = []
    span_start: int | None = None

    for start, end in sentence_spans(passage):
        span_start = start if span_start is None else span_start
        if len(words(passage[span_start:end])) >= _MIN_SPAN_WORDS:
            complete.append((span_start, end))
            span_start = None

    if span_start is not None:  # a short rest belongs to the span before it
        last_start = complete[-1][0] if complete else span_start
        complete = [*complete[:-1], (last_start, len(passage))]
    return complete
