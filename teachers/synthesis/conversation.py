"""Progress of a planned conversation: its written turns, its failures, its rejection (CoDi)."""

from dataclasses import dataclass, field

from teachers.corpora.conversations import Message
from teachers.inference.store import Row
from teachers.synthesis.turn_checks import Draft


@dataclass
class Conversation:
    """A plan, and the turns of it that are written."""

    plan: Row
    messages: list[Message] = field(default_factory=list)
    turns: list[Row] = field(default_factory=list)
    """Turns of SYNTHESISED, one for each of `messages`."""
    failures: list[str] = field(default_factory=list)
    attempt: int = 0
    """Number of the attempt at the next turn, from 0."""
    rewinds: int = 0
    """Turns that were dropped because every attempt at the next one failed."""
    rejection: str | None = None
    """The turn and the reason for which the conversation is rejected."""

    @property
    def is_unfinished(self) -> bool:
        """Whether turns remain to be written, and the conversation is not rejected."""
        return self.rejection is None and len(self.messages) < len(self.plan["turns"])

    @property
    def num_settled(self) -> int:
        """Number of the plan's turns that are written, or never will be."""
        return len(self.messages) if self.is_unfinished else len(self.plan["turns"])

    @property
    def turn(self) -> Row:
        """The next turn of the plan."""
        turn: Row = self.plan["turns"][len(self.messages)]
        return turn

    @property
    def evidence(self) -> str:
        """The part of its passage that the next turn is about."""
        turn = self.turn
        passage: str = self.plan["passages"][turn["passage"]]
        return passage[turn["start"] : turn["end"]]

    def add(self, draft: Draft) -> None:
        """Add the next turn."""
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
        self.messages.append({"role": turn["speaker"], "content": draft.turn.text})
        self.attempt = 0

    def fail(self, reason: str, attempts: int, rewinds: int) -> None:
        """Count a failed attempt at the next turn.

        After `attempts` of them the turn before is dropped, too, at most `rewinds` times in a conversation;
        then the conversation is rejected.
        """
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
            self.rejection = f"turn {len(self.messages) + 1} ({vertex}): {reason}"

    def row(self) -> Row:
        """Return the row of SYNTHESISED."""
        kept = {name: self.plan[name] for name in ("conversation_id", "doc_id", "axes", "passages")}
        return {
            **kept,
            "messages": self.messages,
            "turns": self.turns,
            "failures": self.failures,
            "set_aside": self.rejection,
        }
