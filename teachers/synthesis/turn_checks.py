"""Checks of a synthesised turn, as one list of reasons and checks. A turn that fails one is rewritten."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from teachers.corpora.conversations import Message
from teachers.engines.protocol import Generation
from teachers.generation.config import FiltersConfig
from teachers.generation.filters import Filter, filters
from teachers.synthesis.config import ChecksConfig
from teachers.synthesis.conversation_graph import Vertex
from teachers.synthesis.phenomena import LEANING, PHENOMENA, TurnInContext, content_words, words

Entails = Callable[[str, str], float]
"""Probability that the second text follows from the first."""


@dataclass(frozen=True)
class Draft:
    """A turn that a teacher wrote."""

    generation: Generation
    turn: TurnInContext
    evidence: str
    """The part of the passage that the turn is about."""
    context: Sequence[Message]
    """The conversation before it."""
    vertex: Vertex
    phenomenon: str | None
    instructions: str
    """The teacher's prompt, without passage and conversation."""


Check = Callable[[Draft], bool]
"""Whether a turn fails."""


def turn_checks(
    filters_config: FiltersConfig, config: ChecksConfig, entails: Entails | None = None
) -> list[tuple[str, Check]]:
    """Return (reason, check) in the order in which they are tried; the first that fails gives the reason."""

    def leaks_instructions(draft: Draft) -> bool:
        return leaks(draft.turn.text, draft.instructions, config.leaked_words)

    def copies_turn(draft: Draft) -> bool:
        return copies(draft.turn.text, draft.turn.earlier, config.copied)

    def is_ungrounded(draft: Draft) -> bool:
        return draft.vertex.grounded and not is_grounded(draft, config.overlap)

    def lacks_phenomenon(draft: Draft) -> bool:
        return draft.phenomenon is not None and not PHENOMENA[draft.phenomenon](draft.turn)

    checks: list[tuple[str, Check]] = []
    for reason, drops in filters(filters_config):
        checks.append((reason, partial(_is_dropped, drops)))
    checks += [
        ("leaks the prompt", leaks_instructions),
        ("copies an earlier turn", copies_turn),
        ("not grounded", is_ungrounded),
    ]
    if entails is not None:
        checks.append(("not entailed", partial(_is_not_entailed, entails, config.entailment)))
    checks.append(("phenomenon missing", lacks_phenomenon))
    return checks


def _is_dropped(drops: Filter, draft: Draft) -> bool:
    return drops(draft.generation, list(draft.context))


def _is_not_entailed(entails: Entails, threshold: float, draft: Draft) -> bool:
    # Nothing follows from a question of the user.
    if not draft.vertex.grounded or draft.vertex.speaker != "assistant":
        return False
    return entails(draft.evidence, draft.turn.text) < threshold


def failure(draft: Draft, checks: Sequence[tuple[str, Check]]) -> str | None:
    """Return the reason for which the turn is to be rewritten; None where it passes."""
    if draft.generation.error is not None:
        return "the teacher failed"

    for reason, fails in checks:
        if fails(draft):
            return reason
    return None


def is_grounded(draft: Draft, threshold: float) -> bool:
    """Whether the evidence has at least that share of the content words that the turn adds to the last one.

    Only a turn whose phenomenon leans on the last turn may add nothing, as in "Why is that?".
    """
    last_turn = "".join(draft.turn.earlier[-1:])
    added = content_words(draft.turn.text) - content_words(last_turn)
    if not added:
        return draft.phenomenon in LEANING
    return len(added & content_words(draft.evidence)) >= threshold * len(added)


def copies(text: str, earlier: Sequence[str], threshold: float) -> bool:
    """Whether the words of the text are nearly those of an earlier turn."""
    text_words = set(words(text))

    for turn in earlier:
        turn_words = set(words(turn))
        union = text_words | turn_words
        if union and len(text_words & turn_words) >= threshold * len(union):
            return True
    return False


def leaks(text: str, instructions: str, num_words: int) -> bool:
    """Whether the text has as many consecutive words of the instructions."""
    return bool(_word_ngrams(text, num_words) & _word_ngrams(instructions, num_words))


def _word_ngrams(text: str, length: int) -> set[tuple[str, ...]]:
    text_words = words(text)
    return {tuple(text_words[start : start + length]) for start in range(len(text_words) - length + 1)}
