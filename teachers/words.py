"""Words, sentences and cuts of a text in any script.

Words are those of Unicode's rules (UAX #29), without a dictionary: of scripts that put no spaces between
words, such as Chinese or Thai, each character counts as one.
"""

import regex

_BOUNDARY = regex.compile(r"(?V1w)\b")
_IN_A_WORD = regex.compile(r"\w|\p{Extended_Pictographic}|\p{Regional_Indicator}")
_CHARACTER = regex.compile(r"\X")
# Marks that end a sentence: where words have spaces one follows, in other scripts none does.
_SENTENCE = regex.compile(r"\S.*?(?:[.!?…؟۔।]+[\"'”’)\]]*(?=\s)|[。！？｡]+[”’」』）]*|$)", regex.DOTALL)
# Unicode's marks, with quotation marks and brackets that close after them.
_SENTENCE_END = regex.compile(
    r"(?V1)[[\p{STerm}…]--[。！？｡]]+[\"'“\p{Pe}\p{Pf}]*(?=\s|\Z)|[。！？｡]+[\"'\p{Pe}\p{Pf}]*"
)
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{2,}", regex.VERSION1
)
# With its marks: a vowel of Hindi is one.
_TERM = regex.compile(r"[\w\p{M}]{2,}|\p{Han}|\p{Extended_Pictographic}")


def words(text: str) -> list[str]:
    """Return the words of a text; an emoji is one, a punctuation mark is none."""
    return [segment for segment in _BOUNDARY.split(text) if _IN_A_WORD.search(segment)]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of each word."""
    spans = []
    start = 0
    for segment in _BOUNDARY.split(text):
        if _IN_A_WORD.search(segment):
            spans.append((start, start + len(segment)))
        start += len(segment)
    return spans


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of each sentence."""
    return [match.span() for match in _SENTENCE.finditer(text)]


def complete_sentences(text: str) -> str:
    """Return the longest beginning of `text` that ends with the mark of a sentence; empty where none does."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def cut_at_word(text: str, max_characters: int) -> str:
    """Return the longest beginning of `text` that ends with a word and fits.

    Where that is less than half of what fits, as in a very long word, it ends with a whole character: an
    emoji or an accented letter may have several codes.
    """
    if len(text) <= max_characters:
        return text

    end = 0
    for segment in _BOUNDARY.split(text[: max_characters + 1]):
        if end + len(segment) > max_characters:
            break
        end += len(segment)
    if end < max_characters / 2:
        end = _last_character_end(text, max_characters)
    return text[:end].rstrip()


def _last_character_end(text: str, limit: int) -> int:
    end = 0
    for match in _CHARACTER.finditer(text):
        if match.end() > limit:
            break
        end = match.end()
    return end or limit


def search_terms(text: str) -> list[str]:
    """Return the terms of a text for lexical search, in lower case.

    A term is a word of two characters or more, an emoji, or a pair of neighbouring characters where words
    have no spaces between them.
    """
    spaced = _UNSPACED.sub(lambda run: f" {_pairs(run[0])} ", text.lower())
    terms: list[str] = _TERM.findall(spaced)
    return terms


def _pairs(run: str) -> str:
    return " ".join(run[start : start + 2] for start in range(len(run) - 1))
