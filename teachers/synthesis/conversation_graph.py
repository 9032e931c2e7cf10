"""The conversation graph (CoDi, Huber et al. 2024): kinds of turn, what may follow what, and how often."""

import math
import string
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from teachers.config import Section

END = "end"
"""The end of a conversation, after its last turn."""
PASSAGE, EVIDENCE, PHENOMENON = "passage", "evidence", "phenomenon"
CONVERSATION, LAST_TURN = "conversation", "last_turn"
TURN_VARIABLES = (PASSAGE, EVIDENCE, PHENOMENON, CONVERSATION, LAST_TURN)
"""Variables of a prompt that hold a turn's values; the axes are variables, too."""
Speaker = Literal["user", "assistant"]


class Example(Section):
    """A turn of this kind as it should be, shown before the request: small models follow examples."""

    passage: str = ""
    evidence: str = ""
    conversation: str = ""
    phenomenon: str | None = None
    """The phenomenon that it shows, an example of turns that are to show it; without one, of all others."""
    axes: dict[str, str] = Field(default_factory=dict)
    """Values of axes: an example of conversations with these; without any, of all."""
    turn: str = Field(min_length=1)


class Vertex(Section):
    """A kind of turn."""

    speaker: Speaker
    prompt: str = Field(min_length=1)
    """The request to the teacher. Names in braces stand for the passage, the evidence (the part of it that
    this turn is about), the conversation so far and its last turn, what the turn's phenomenon asks for, and
    the axes."""
    examples: list[Example] = Field(default_factory=list)
    """Each is the same request, about another passage after another conversation, and its turn."""
    grounded: bool = False
    """Whether its content has to be in the evidence."""
    phenomena: dict[str, float] = Field(default_factory=dict)
    """Share of these turns that is to show each; the rest is free."""
    next: dict[str, float]
    """Probability of each kind of turn that may follow, or of the `end`."""

    @property
    def asks(self) -> bool:
        """Whether it moves on to other evidence: a turn of the user that is written from it."""
        return self.speaker == "user" and EVIDENCE in variables(self.prompt)

    def examples_of(self, phenomenon: str | None, axes: Mapping[str, str]) -> list[Example]:
        """Return those of conversations with these axes that show it, or else those without a phenomenon."""
        showing: list[Example] = []
        without_phenomenon: list[Example] = []
        for example in self.examples:
            if not example.axes.items() <= axes.items():
                continue
            if example.phenomenon == phenomenon:
                showing.append(example)
            if example.phenomenon is None:
                without_phenomenon.append(example)
        return showing or without_phenomenon


class Value(Section):
    """One value of an axis."""

    share: float = Field(gt=0, le=1)
    """Share of the conversations."""
    text: str
    """Text of a prompt in place of the axis."""


class Graph(Section):
    """Kinds of turn by name, and axes along which conversations differ as a whole."""

    system_prompt: str = ""
    """For all turns, where a teacher's template has a system role."""
    max_turns: int = Field(12, ge=2, multiple_of=2)
    """Where a conversation ends at the latest; even, so that no question stays without an answer there."""
    start: dict[str, float]
    vertices: dict[str, Vertex] = Field(min_length=1)
    phenomena: dict[str, str] = Field(default_factory=dict)
    """Request to the teacher, by the names of `teachers.synthesis.phenomena`."""
    axes: dict[str, dict[str, Value]] = Field(default_factory=dict)


def steered(graph: Graph, shares: Mapping[str, Mapping[str, float]]) -> Graph:
    """Return the graph with other shares of some axes' values; a value without a share is never drawn.

    Raises:
        ValueError: a name is unknown, or an axis's shares do not sum to 1.
    """
    axes = dict(graph.axes)
    for axis, values in shares.items():
        for value, share in values.items():
            if value not in graph.axes.get(axis, ()):
                raise ValueError(f"synthesis.shares.{axis}.{value}: the graph has no such axis or value")
            if share < 0:
                raise ValueError(f"synthesis.shares.{axis}.{value}: {share:g} is below 0")

        if not math.isclose(sum(values.values()), 1, abs_tol=1e-6):
            raise ValueError(f"synthesis.shares.{axis}: they sum to {sum(values.values()):g}, not 1")
        axes[axis] = {}
        for value, share in values.items():
            if share:
                axes[axis][value] = Value(share=share, text=graph.axes[axis][value].text)
    return graph.model_copy(update={"axes": axes})


def variables(prompt: str) -> set[str]:
    """Return the names in braces.

    Raises:
        ValueError: a brace has no other, or the text in braces is not a name.
    """
    try:
        fields = list(string.Formatter().parse(prompt))
    except ValueError as error:
        raise ValueError(f"{error} (write a literal brace twice)") from None

    names = {name for _, name, _, _ in fields if name is not None}
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"{{{name}}} is not a name (write a literal brace twice)")
    return names


def expected_shares(graph: Graph) -> dict[str, float]:
    """Return the share of turns that each kind of turn has, if conversations go by the graph."""
    visits = dict.fromkeys(graph.vertices, 0.0)
    now = dict(graph.start)

    for _ in range(graph.max_turns):
        following: dict[str, float] = {}
        for name, probability in now.items():
            visits[name] += probability
            for follower, step in graph.vertices[name].next.items():
                following[follower] = following.get(follower, 0) + probability * step
        following.pop(END, None)
        now = following

    total = sum(visits.values())
    return {name: value / total for name, value in visits.items()}
