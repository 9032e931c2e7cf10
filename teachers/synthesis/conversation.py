"""A planned conversation and how far it has come: turns said, given up, or set aside (CoDi)."""

from dataclasses import dataclass, field

from teachers.corpora.conversations import Message
from teachers.inference.store import Row
from teachers.synthesis.turn_checks import Draft


@dataclass
class Conversation:
    """A plan and how far it has come."""

    plan: Row
    messages: list[Message] = field(default_factory=list)
    turns: list[Row] = field(default_factory=list)
    """Of SYNTHESISED, one for each of `messages`."""
    failures: list[str] = field(default_factory=list)
    attempt: int = 0
    """At the next turn, from 0."""
    rewinds: int = 0
    """Turns that were given up because what follows them would not come."""
    set_aside: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether a turn is left to write, and it was not set aside."""
        return self.set_aside is None and len(self.messages) < len(self.plan["turns"])

    @property
    def num_settled(self) -> int:
        """Turns of the plan that are written, or will not be."""
        return len(self.messages) if self.goes_on else len(self.plan["turns"])

    @property
    def turn(self) -> Row:
        """The next one of the plan."""
        turn: Row = self.plan["turns"][len(self.messages)]
        return turn

    @property
    def evidence(self) -> str:
        """The part of its passage that the next turn is about."""
        turn = self.turn
        passage: str = self.plan["passages"][turn["passage"]]
        return passage[turn["start"] : turn["end"]]

    def say(self, draft: Draft) -> None:
        """The next turn is written."""
        turn = self.turn
        kept = {name: turn[name] for name in ("vertex", "phenomenon", "passage", "teacher")}
        is_grounded = draft.vertex.grounded
        self.turns.append(
            {
                **kept,
                "evidence": draft.evidence if is_grounded else None,
                "start": turn["start"] if is_grounded else None,
                "end": turn["end"] if is_grounded else None,
            }
        )
        self.messages.append({"role": turn["speaker"], "content": draft.said.text})
        self.attempt = 0

    def fail(self, reason: str, attempts: int, rewinds: int) -> None:
        """The next turn is to be written anew; after so many `attempts` the one before it, too, for which a
        conversation has `rewinds`."""
        vertex = self.turn["vertex"]
        self.failures.append(f"{vertex}: {reason}")
        self.attempt += 1
        if self.attempt < attempts:
            return
        if self.messages and self.rewinds < rewinds:
            self.messages.pop()
            self.turns.pop()
            self.attempt, self.rewinds = 0, self.rewinds + 1
        else:
            self.set_aside = f"turn {len(self.messages) + 1} ({vertex}): {reason}"

    def row(self) -> Row:
        """Of SYNTHESISED."""
        kept = {name: self.plan[name] for name in ("conversation_id", "doc_id", "axes", "passages")}
        return {
            **kept,
            "messages": self.messages,
            "turns": self.turns,
            "failures": self.failures,
            "set_aside": self.set_aside,
        }
