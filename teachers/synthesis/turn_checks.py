"""Checks of a synthesised turn, as one list: each says in a few words why a turn is written anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from teachers.corpora.conversations import Message
from teachers.engines.protocol import Generation
from teachers.generation.config import FiltersConfig
from teachers.generation.filters import Filter, filters
from teachers.synthesis.config import ChecksConfig
from teachers.synthesis.conversation_graph import Vertex
from teachers.synthesis.phenomena import LEANING, PHENOMENA, Said, content_words, words

Entails = Callable[[str, str], float]
"""Probability that the second text follows from the first."""


@dataclass(frozen=True)
class Draft:
    """A turn that a teacher wrote."""

    generation: Generation
    said: Said
    evidence: str
    """The part of the passage that the turn is about."""
    context: Sequence[Message]
    """The conversation before it."""
    vertex: Vertex
    phenomenon: str | None
    instructions: str
    """What a teacher was told and shown, without passage and conversation."""


Check = Callable[[Draft], bool]
"""Whether a turn fails."""


def turn_checks(
    filters_config: FiltersConfig, config: ChecksConfig, entails: Entails | None = None
) -> list[tuple[str, Check]]:
    """(reason, check) in the order in which they are tried; the first that fails gives the reason."""
    found: list[tuple[str, Check]] = [
        (reason, partial(_is_dropped, drops)) for reason, drops in filters(filters_config)
    ]
    found += [
        ("leaks the prompt", lambda draft: leaks(draft.said.text, draft.instructions, config.leaked_words)),
        ("copies an earlier turn", lambda draft: copies(draft.said.text, draft.said.earlier, config.copied)),
        ("not grounded", lambda draft: draft.vertex.grounded and not is_grounded(draft, config.overlap)),
    ]
    if entails is not None:
        found.append(
            (
                "not entailed",
                lambda draft: (
                    draft.vertex.grounded
                    and draft.vertex.speaker == "assistant"  # nothing follows that is asked
                    and entails(draft.evidence, draft.said.text) < config.entailment
                ),
            )
        )
    found.append(
        (
            "phenomenon missing",
            lambda draft: draft.phenomenon is not None and not PHENOMENA[draft.phenomenon](draft.said),
        )
    )
    return found


def _is_dropped(drops: Filter, draft: Draft) -> bool:
    return drops(draft.generation, list(draft.context))


def failure(draft: Draft, checks: Sequence[tuple[str, Check]]) -> str | None:
    """Why the turn is to be written anew; None where it passes."""
    if draft.generation.error is not None:
        return "the teacher failed"
    return next((reason for reason, fails in checks if fails(draft)), None)


def is_grounded(draft: Draft, threshold: float) -> bool:
    """Whether at least that share of the content words that the turn adds to the last one is in its evidence.

    Only a turn that is to lean on what was said may add nothing, as in "Why is that?".
    """
    last = "".join(draft.said.earlier[-1:])
    added = content_words(draft.said.text) - content_words(last)
    if not added:
        return draft.phenomenon in LEANING
    return len(added & content_words(draft.evidence)) >= threshold * len(added)


def copies(text: str, earlier: Sequence[str], threshold: float) -> bool:
    """Whether the words of the text are nearly those of an earlier turn."""
    own = set(words(text))
    return any(
        len(own & others) >= threshold * len(own | others)
        for others in (set(words(turn)) for turn in earlier)
        if own | others
    )


def leaks(text: str, instructions: str, num_words: int) -> bool:
    """Whether the text has as many consecutive words of the instructions."""
    return bool(_runs(text, num_words) & _runs(instructions, num_words))


def _runs(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}
