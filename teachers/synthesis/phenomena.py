"""Linguistic phenomena of conversations, and rules by which a turn shows one (English).

A rule errs on the side of saying no: a turn that does not clearly show its phenomenon is rewritten.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bm25s.stopwords import STOPWORDS_EN_PLUS


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[a-z0-9]+(?:['’-][a-z0-9]+)*")
_PRONOUNS = _listed(
    "it its itself he him his she her hers they them their theirs this that these those there one ones"
)
_SUBJECTS = _listed(
    "i you he she it we they who there i'm you're he's she's it's we're they're there's that's i've you've "
    "we've they've i'd you'd"
)
_AUXILIARIES = _listed(
    "am is are was were be been being do does did have has had can could may might must shall should will "
    "would isn't aren't wasn't weren't don't doesn't didn't haven't hasn't hadn't can't couldn't won't "
    "wouldn't shouldn't what's who's how's where's let's"
)
_MAX_FRAGMENT_WORDS = 8
_FRAGMENT_STARTS = _listed(
    "and or but what how why when where which because in on at with for to from by of not only also even "
    "more less no yes maybe perhaps about after before during without until since then"
)
_VAGUE = re.compile(
    r"\b(things?|stuff|something|somewhere|someone|whatever|kind of|sort of|that part|that bit|"
    r"the (first|second|third|last|other|former|latter)( one)?|you (said|mentioned|told)|earlier)\b",
    re.IGNORECASE,
)
_DISFLUENT = re.compile(
    r"\b(u+h+|u+m+|e+r+m?|h+m+|you know|i mean|let me think)\b|\b(\w+)[,.…-]* \2\b|^(well|so|like|oh),",
    re.IGNORECASE,
)
# Words of talk, beside those of grammar: they tell nothing of the topic.
_COMMON = frozenset(STOPWORDS_EN_PLUS) | _listed(
    "also always another anyone anything ask away back called come could either else enough even ever every "
    "example explain find first get give go good got great help however instead interesting kind know let "
    "like look lot made make many may mean means might much must need never new next nothing often oh ok "
    "okay part people please point put question rather really right said say see show since something sort "
    "still sure take talk tell thank thanks thing things think though try two understand us use used using "
    "want way well whether within without wonder word work would yes yet what's who's how's that's there's "
    "i'm i've i'd"
)


@dataclass(frozen=True)
class TurnInContext:
    """A turn, the turns before it and their passages."""

    text: str
    earlier: Sequence[str]
    """The turns before it, oldest first."""
    passage: str
    """The passage that the turn is about."""
    earlier_passages: Sequence[str]
    """The passages that the turns before it were about, one for each of them."""


def words(text: str) -> list[str]:
    """Return the words in lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def content_words(text: str) -> set[str]:
    """Return the words that tell a text's topic; a plural counts as its singular."""
    return {_stem(word) for word in words(text) if word not in _COMMON and len(word) > 1}


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    for ending, becomes in (("ies", "y"), ("sses", "ss"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + becomes
    return word


def _co_reference(turn: TurnInContext) -> bool:
    """Whether a pronoun comes before all words that the passage or the conversation is about."""
    context_words = content_words(turn.passage).union(*map(content_words, turn.earlier))

    for word in words(turn.text):
        if word in _PRONOUNS:
            return bool(turn.earlier)
        if _stem(word) in context_words:
            return False
    return False


def _ellipsis(turn: TurnInContext) -> bool:
    """Whether it is a short fragment without subject and auxiliary, after something that it leans on."""
    turn_words = words(turn.text)
    return (
        bool(turn.earlier)
        and 0 < len(turn_words) <= _MAX_FRAGMENT_WORDS
        and (turn_words[0] in _FRAGMENT_STARTS or turn.text.rstrip().endswith("?"))
        and _AUXILIARIES.isdisjoint(turn_words)
        and _SUBJECTS.isdisjoint(turn_words)
    )


def _topic_shift(turn: TurnInContext) -> bool:
    """Whether it names something of its passage that neither the last passage nor the conversation has."""
    if not turn.earlier_passages or turn.passage == turn.earlier_passages[-1]:
        return False
    earlier_words = content_words(turn.earlier_passages[-1]).union(*map(content_words, turn.earlier))
    return bool(content_words(turn.text) & content_words(turn.passage) - earlier_words)


def _topic_return(turn: TurnInContext) -> bool:
    """Whether it names something of an earlier passage that the last one lacks."""
    if turn.passage not in turn.earlier_passages[:-1] or turn.passage == turn.earlier_passages[-1]:
        return False
    last_words = content_words(turn.earlier_passages[-1])
    return bool(content_words(turn.text) & content_words(turn.passage) - last_words)


def _vague_reference(turn: TurnInContext) -> bool:
    return bool(turn.earlier) and _VAGUE.search(turn.text) is not None


def _disfluency(turn: TurnInContext) -> bool:
    return _DISFLUENT.search(turn.text.strip()) is not None


PHENOMENA: dict[str, Callable[[TurnInContext], bool]] = {
    "co-reference": _co_reference,
    "ellipsis": _ellipsis,
    "topic_shift": _topic_shift,
    "topic_return": _topic_return,
    "vague_reference": _vague_reference,
    "disfluency": _disfluency,
}
"""Rules for whether a turn shows a phenomenon.

`topic_shift` also moves a plan on to another passage, `topic_return` back."""

LEANING = frozenset({"co-reference", "ellipsis", "vague_reference"})
"""Phenomena of turns that name less than they mean."""
