"""How a conversation becomes a teacher's prompt, as token ids. L prompt tokens, R response tokens."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jinja2

from teachers.corpora.conversations import Message

_SPEAKERS = {"user": "A", "assistant": "B"}
_NOTHING_SAID: list[Message] = [{"role": "user", "content": ""}]


@dataclass(frozen=True)
class Prefix:
    """Everything before a response."""

    text: str
    ids: list[int]
    """Token ids [L]."""


@dataclass(frozen=True)
class PromptFormat:
    """The way one teacher reads a conversation and ends a turn."""

    teacher: str
    tokenizer: Any
    max_tokens: int
    """Most tokens of a prefix; the oldest turns go first."""
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Variables of the chat template."""

    @property
    def uses_chat_template(self) -> bool:
        return bool(self.tokenizer.chat_template)

    @cached_property
    def end_of_turn(self) -> list[int]:
        """Token ids that end a response: the template's marker after an assistant's turn, or a line's end."""
        if not self.uses_chat_template:
            return self._encode("\n")

        answer = "So it is."
        turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": answer}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, **self.template_kwargs)
        after = text.rpartition(answer)[2]
        marker = self._encode(after)[:1]
        # Not every template marks the end: then the model was trained to end the text.
        return marker if marker and marker[0] in self.tokenizer.all_special_ids else [self._end_of_text]

    def prefix(self, messages: list[Message], system_prompt: str) -> Prefix:
        """Everything before the response; no message at all gives the prior's prefix.

        Raises:
            ValueError: the last turn alone does not fit.
        """
        for start in range(max(1, len(messages))):
            text = self._text(messages[start:], system_prompt)
            ids = self._start + self._encode(text)
            if len(ids) <= self.max_tokens:
                return Prefix(text, ids)
        raise ValueError(
            f"teachers.{self.teacher}: the last turn is {len(ids)} tokens long, {self.max_tokens} fit"
        )

    def response(self, prefix: Prefix, text: str) -> list[int]:
        """Token ids [R] of a response and of the end of its turn, as they follow the prefix's.

        Raises:
            ValueError: the tokenizer merges the prefix's last characters with the response's first, so that
                no token ids stand for the response alone.
        """
        if not self.uses_chat_template:
            text = f" {text}"
        both = self._start + self._encode(prefix.text + text)
        if both[: len(prefix.ids)] != prefix.ids:
            raise ValueError(
                f"teachers.{self.teacher}: no token border before {text[:80]!r}; its tokenizer merges it "
                f"with {prefix.text[-20:]!r}"
            )
        return both[len(prefix.ids) :] + self.end_of_turn

    @property
    def _start(self) -> list[int]:
        # A template writes its own. A GGUF's tokenizer does not add <bos> by itself; without it Gemma 3's
        # loss on plain English is 4.4 nats per token, with it 1.5.
        bos = self.tokenizer.bos_token_id
        return [] if self.uses_chat_template or bos is None else [bos]

    @property
    def _end_of_text(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def _text(self, messages: list[Message], system_prompt: str) -> str:
        if self.uses_chat_template:
            return self._chat(messages, system_prompt)
        lines = [f"{_SPEAKERS[message['role']]}: {message['content']}\n" for message in messages]
        return "".join(lines) + _SPEAKERS["assistant"] + ":"

    def _chat(self, messages: list[Message], system_prompt: str) -> str:
        system: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        # Some templates refuse a system role, some want the user to begin, and none may be without a turn.
        for turns in (system + messages, messages, _NOTHING_SAID + messages):
            try:
                text: str = self.tokenizer.apply_chat_template(
                    turns, add_generation_prompt=True, tokenize=False, **self.template_kwargs
                )
            except (jinja2.TemplateError, IndexError, ValueError) as error:
                problem = error
            else:
                return text
        raise ValueError(f"teachers.{self.teacher}: its chat template refuses the conversation: {problem}")

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids
