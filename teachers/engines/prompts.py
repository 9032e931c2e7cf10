"""How a conversation becomes a teacher's prompt, as token ids. L prompt tokens, R response tokens."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jinja2

from teachers.corpora.conversations import Message
from teachers.corpora.messages import LONE_SURROGATE
from teachers.engines.chat_layout import ALL_KINDS, ConversationKind, Layout, find_layout, texts_of

_SPEAKERS = {"user": "A", "assistant": "B"}
# A template refuses a conversation by its own error, or fails at values that it does not expect.
_REFUSALS = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


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
        """Token ids that end a response: the template's marker after an assistant's turn, or a line's end.

        Raises:
            ValueError: there is neither a marker nor a token that ends a text.
        """
        if not self.uses_chat_template:
            return self._encode("\n")

        answer = "So it is."
        turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": answer}]
        layout = self.layouts[ConversationKind.of_conversation(turns, "")]
        text = self._render(layout.turns(turns, ""), for_response=False)
        after = text.rpartition(answer)[2].lstrip()
        marker = self._encode(after)[:1]
        if marker and self._is_special(marker[0]):
            return marker

        # Not every template marks the end: then the model was trained to end the text.
        if self.tokenizer.eos_token_id is None:
            raise ValueError(
                f"teachers.{self.teacher}: expected a special token after a turn, or an eos token of its "
                f"tokenizer, got {after[:20]!r} and none"
            )
        return [int(self.tokenizer.eos_token_id)]

    def _is_special(self, token: int) -> bool:
        # The marker of some templates is in no role of the tokenizer, as Phi-3's <|end|>.
        added = self.tokenizer.added_tokens_decoder.get(token)
        return token in self.tokenizer.all_special_ids or (added is not None and added.special)

    @cached_property
    def layouts(self) -> dict[ConversationKind, Layout]:
        """The layout in which the chat template renders each kind of conversation.

        Raises:
            ValueError: the template refuses a short conversation, or leaves out its text.
        """
        layouts: dict[ConversationKind, Layout] = {}
        for kind in ALL_KINDS:
            layout = find_layout(kind, self._shows)
            if layout is None:
                raise ValueError(
                    f"teachers.{self.teacher}: expected a chat template that renders the text of a "
                    "conversation, got one that refuses it or leaves it out"
                )
            layouts[kind] = layout
        return layouts

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

    def _text(self, messages: list[Message], system_prompt: str) -> str:
        if self.uses_chat_template:
            return self._chat(messages, system_prompt)
        lines = [f"{_SPEAKERS[message['role']]}: {message['content']}\n" for message in messages]
        return "".join(lines) + _SPEAKERS["assistant"] + ":"

    def _chat(self, messages: list[Message], system_prompt: str) -> str:
        layout = self.layouts[ConversationKind.of_conversation(messages, system_prompt)]
        try:
            return self._render(layout.turns(messages, system_prompt))
        except _REFUSALS as error:
            raise ValueError(
                f"teachers.{self.teacher}: its chat template refuses the conversation: {error}"
            ) from error

    def _shows(self, turns: list[dict[str, Any]]) -> bool:
        """Whether the template renders all texts of a conversation, and no list as Python prints it."""
        try:
            text = self._render(turns)
        except _REFUSALS:
            return False
        is_printed = re.search(r"""['"]text['"]: ['"]""", text) is not None
        return bool(text) and not is_printed and all(turn_text in text for turn_text in texts_of(turns))

    def _render(self, turns: list[dict[str, Any]], *, for_response: bool = True) -> str:
        text: str = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=for_response, tokenize=False, **self.template_kwargs
        )
        return text

    def _encode(self, text: str) -> list[int]:
        try:
            ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        except (TypeError, UnicodeEncodeError):
            raise ValueError(f"teachers.{self.teacher}: expected text, got {LONE_SURROGATE}") from None
        return ids
