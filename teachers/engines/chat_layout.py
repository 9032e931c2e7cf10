"""Which turns a chat template or a server takes: found out once per teacher, with short conversations.

Some templates refuse a system prompt, some an assistant who begins, and some drop them without an error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from teachers.corpora.conversations import Message

_NOTHING_SAID: Message = {"role": "user", "content": ""}
_SYSTEM_PROMPT = "Answer in rhymes."
_KNOWN_TURNS: list[Message] = [
    {"role": "user", "content": "Where do herons sleep?"},
    {"role": "assistant", "content": "In tall trees beside the water."},
    {"role": "user", "content": "Do they snore?"},
]


@dataclass(frozen=True)
class ConversationKind:
    """What decides whether a template takes a conversation."""

    has_system_prompt: bool
    first_role: str | None
    """None where there is no turn, as of a response's prior."""

    @classmethod
    def of_conversation(cls, messages: list[Message], system_prompt: str) -> "ConversationKind":
        """Return the kind of a conversation."""
        return cls(bool(system_prompt), messages[0]["role"] if messages else None)

    def example(self) -> tuple[list[Message], str]:
        """Return turns and system prompt of a short conversation of this kind."""
        start = {None: len(_KNOWN_TURNS), "user": 0, "assistant": 1}[self.first_role]
        return _KNOWN_TURNS[start:], _SYSTEM_PROMPT if self.has_system_prompt else ""


ALL_KINDS = [
    ConversationKind(has_system_prompt, first_role)
    for has_system_prompt in (True, False)
    for first_role in ("user", "assistant", None)
]


@dataclass(frozen=True)
class Layout:
    """One of the ways to lay out a conversation."""

    place: int = 0
    """In what `layouts` returns; by 0 a conversation stays as it is."""
    shape: int = 0
    """Of the contents, see `SHAPES`"""

    def turns(self, messages: list[Message], system_prompt: str) -> list[dict[str, Any]]:
        """Return a conversation of the layout's kind as the template gets it."""
        turns = layouts(messages, system_prompt)[self.place]
        return [self._turn(turn) for turn in turns]

    def _turn(self, turn: Message) -> dict[str, Any]:
        if turn["role"] not in SHAPES[self.shape]:
            return dict(turn)
        return {**turn, "content": [{"type": "text", "text": turn["content"]}]}


SHAPES: list[frozenset[str]] = [
    frozenset(),
    frozenset({"system", "user", "assistant"}),
    frozenset({"user", "assistant"}),
    frozenset({"user"}),
]
"""The roles whose contents are lists of parts, other contents being strings"""


def layouts(messages: list[Message], system_prompt: str) -> list[list[Message]]:
    """Return the ways to lay out a conversation, best first, equally many for each of its kind.

    An empty user turn opens it, or what precedes the user's first turn is left out; the system prompt is left
    out where nothing else helps.
    """
    openings = [messages]
    if not messages or messages[0]["role"] != "user":
        openings.append([_NOTHING_SAID, *messages])
    if messages and messages[0]["role"] != "user":
        openings.append(messages[1:])

    systems: list[list[Message]] = [[]]
    if system_prompt:
        systems.insert(0, [{"role": "system", "content": system_prompt}])
    return [system + opening for system in systems for opening in openings if system or opening]


def find_layout(
    kind: ConversationKind, accepts: Callable[[list[dict[str, Any]]], bool], num_shapes: int = len(SHAPES)
) -> Layout | None:
    """Return the first layout of a kind that is accepted, of the first `num_shapes`; None where none is."""
    messages, system_prompt = kind.example()
    for place in range(len(layouts(messages, system_prompt))):
        for shape in range(num_shapes):
            layout = Layout(place, shape)
            if accepts(layout.turns(messages, system_prompt)):
                return layout
    return None


def texts_of(turns: list[dict[str, Any]]) -> list[str]:
    """Return the text of each turn, whatever the shape of its content."""
    contents = [turn["content"] for turn in turns]
    return [content if isinstance(content, str) else content[0]["text"] for content in contents]


def caveats(layouts_by_kind: Mapping[ConversationKind, Layout]) -> str:
    """Return what of a conversation is not taken, as the end of a phrase; empty where all is."""
    missing: set[str] = set()
    for kind, layout in layouts_by_kind.items():
        roles = {turn["role"] for turn in layout.turns(*kind.example())}
        if kind.has_system_prompt and "system" not in roles:
            missing.add("the system prompt")
        if kind.first_role == "assistant" and "assistant" not in roles:
            missing.add("an assistant's first turn")
    return f" that leaves out {' and '.join(sorted(missing))}" if missing else ""
