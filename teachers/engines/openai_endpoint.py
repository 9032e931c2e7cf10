"""A teacher behind an OpenAI-compatible server: it writes, and scores where its tokenizer is known."""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import openai

from teachers.config import EndpointTeacher, GenerateConfig
from teachers.corpora.conversations import Message
from teachers.corpora.messages import LONE_SURROGATE
from teachers.engines.chat_layout import ConversationKind, Layout, caveats, find_layout
from teachers.engines.likelihood import Pair
from teachers.engines.openai_client import OpenAIClient, RefusedContentError, RowError
from teachers.engines.prompts import PromptFormat
from teachers.engines.protocol import (
    DEFAULT_MAX_TOKENS,
    Generation,
    Group,
    PairScore,
    Prompt,
    TeacherError,
)
from teachers.engines.reasoning import check_reasoning, opened_by_prompt, without_reasoning
from teachers.engines.sanity import (
    KNOWN_QUESTION,
    echoes_preferred,
    known_sentence_loss,
    refuse_above,
)

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Endpoint:
    """A served teacher."""

    def __init__(self, name: str, config: EndpointTeacher) -> None:
        self.name = name
        self.config = config
        self._client = OpenAIClient(name, config)
        self.format = _prompt_format(name, config)
        self._layouts: dict[ConversationKind, Layout] = {}
        """Those that the server takes where it refuses the usual one."""
        self._layouts_lock = threading.Lock()
        self._opening = ""
        """The tag with which the chat template has the model begin to reason."""
        if self.format is not None:
            self._opening = opened_by_prompt(self.format.prefix(KNOWN_QUESTION, "").text)

    def check(self, scores: bool = True, max_tokens: int = DEFAULT_MAX_TOKENS) -> str:
        """One line: the loss on plain English where it can score, and a sample.

        Raises:
            ValueError: the server refuses a known text, its loss says that the tokenizer is not its own, or
                the teacher reasons where it should not.
            TeacherError: no server answers, or it refuses every request alike.
        """
        shown = "writes only"
        if self.format is not None:
            loss = known_sentence_loss(self.format, self.config.system_prompt, self._log_likelihoods)
            refuse_above(self.config.max_sane_loss, loss, self.name)
            ends_with = self.format.tokenizer.decode(self.format.end_of_turn)
            shown = f"{loss:.2f} nats/token on a known sentence, ends a turn with {ends_with!r}"
            if scores:
                shown += f", {echoes_preferred(self.score)}"
        prompt = Prompt(KNOWN_QUESTION, self.config.system_prompt, seed=0)
        sample = check_reasoning(
            lambda config: self._sample(prompt, self._newest_turns(prompt), config),
            scores and self.format is not None,
            max_tokens,
            self.name,
        )
        served = f"{self.config.model} at {self.config.base_url}{caveats(self._layouts)}"
        return f"{self.name}: {served}, {shown}, writes {without_reasoning(sample.text).strip()!r}"

    def generate(self, prompts: Sequence[Prompt], config: GenerateConfig) -> list[Generation]:
        """A sample for each prompt, seeded where the server heeds seeds, or an error.

        Raises:
            TeacherError: no server answers, or it refuses every request alike, as for its key or model.
        """

        def sample(request: tuple[Prompt, list[Message] | str]) -> Generation:
            prompt, turns = request
            if isinstance(turns, str):
                return Generation("", truncated=False, error=turns)
            try:
                raw = self._sample(prompt, turns, config)
            except RowError as error:
                return Generation("", truncated=False, error=str(error))
            return replace(raw, text=without_reasoning(raw.text))

        return self._side_by_side(sample, [(prompt, self._turns_or_error(prompt)) for prompt in prompts])

    def score(self, groups: Sequence[Group]) -> list[list[PairScore]]:
        """Log-likelihoods of each group's responses, or errors.

        Raises:
            TeacherError: as for `generate`, or the server returns no log-probabilities of prompts.
        """

        def score(pair: Pair | str) -> PairScore:
            if isinstance(pair, str):
                return PairScore(error=pair)
            try:
                return PairScore(log_likelihood=self._log_likelihood(*pair), tokens=len(pair[1]))
            except RowError as error:
                return PairScore(error=str(error))

        pairs = [self._pair(group.context, text) for group in groups for text in group.responses]
        scores = iter(self._side_by_side(score, pairs))
        return [[next(scores) for _ in group.responses] for group in groups]

    def _side_by_side(self, send: Callable[[Request], Answer], requests: Iterable[Request]) -> list[Answer]:
        """Answers in the order of the requests; after the first exception none is sent any more."""
        failures: list[Exception] = []

        def send_one(request: Request) -> Answer:
            if failures:  # a thread takes the next before the pool is told to drop it
                raise failures[0]
            try:
                return send(request)
            except Exception as failure:
                failures.append(failure)
                raise

        with ThreadPoolExecutor(self.config.concurrency) as pool:
            return list(pool.map(send_one, requests))

    # Tokenised before the threads begin: transformers does not promise tokenizers that threads share.

    def _turns_or_error(self, prompt: Prompt) -> list[Message] | str:
        try:
            return self._newest_turns(prompt)
        except ValueError as error:
            return str(error)

    def _newest_turns(self, prompt: Prompt) -> list[Message]:
        """The newest turns that fit.

        Raises:
            ValueError: the last turn alone does not fit.
        """
        kept = prompt.context
        if self.format is not None:
            prefix = self.format.prefix(kept, prompt.system_prompt)
            # A turn is left out where the prefix is the same without it.
            while len(kept) > 1 and self.format.prefix(kept[1:], prompt.system_prompt) == prefix:
                kept = kept[1:]
        return kept

    def _pair(self, context: list[Message], text: str) -> Pair | str:
        """Token ids of a context and of a response, or what is wrong."""
        assert self.format is not None, "scores() of a config without a tokenizer is False"
        try:
            prefix = self.format.prefix(context, self.config.system_prompt)
            return prefix.ids, self.format.response(prefix, text)
        except ValueError as error:
            return str(error)

    def _sample(self, prompt: Prompt, turns: list[Message], config: GenerateConfig) -> Generation:
        """A sample with the reasoning before it.

        Raises:
            RowError: the server refuses the conversation, or what it answers is no text.
        """
        kind = ConversationKind.of_conversation(turns, prompt.system_prompt)
        layout = self._layouts.get(kind) or self._usual_layout(kind)
        messages = layout.turns(turns, prompt.system_prompt)
        try:
            return self._chat(messages, prompt.seed, config)
        except RefusedContentError:
            accepted = self._layout_by_trial(kind, config)
            if accepted == layout:
                raise
        return self._chat(accepted.turns(turns, prompt.system_prompt), prompt.seed, config)

    def _usual_layout(self, kind: ConversationKind) -> Layout:
        """As an engine with the same template lays it out; the server itself makes parts of contents."""
        if self.format is None or not self.format.uses_chat_template:
            return Layout()
        return Layout(self.format.layouts[kind].place)

    def _layout_by_trial(self, kind: ConversationKind, config: GenerateConfig) -> Layout:
        """The layout in which the server takes a short conversation of the kind; it is tried once.

        Raises:
            TeacherError: it takes none.
        """
        with self._layouts_lock:
            if kind not in self._layouts:
                problems: list[str] = []

                def accepts(messages: list[dict[str, Any]]) -> bool:
                    try:
                        self._chat(messages, 0, config)
                    except RefusedContentError as error:
                        problems.append(str(error))
                        return False
                    return True

                layout = find_layout(kind, accepts, num_shapes=1)
                if layout is None:
                    raise TeacherError(self._client.unusable(f"refuses every conversation: {problems[0]}"))
                self._layouts[kind] = layout
            return self._layouts[kind]

    def _chat(self, messages: list[dict[str, Any]], seed: int, config: GenerateConfig) -> Generation:
        extra: dict[str, Any] = {}
        if self.config.chat_template_kwargs:  # of vLLM and SGLang; others may refuse what they do not know
            extra = {"extra_body": {"chat_template_kwargs": self.config.chat_template_kwargs}}

        def send(client: openai.OpenAI, messages: Any) -> Any:  # the client's types tell roles apart
            return client.chat.completions.create(
                model=self.config.model,
                messages=messages,
                n=1,
                seed=seed,
                temperature=config.temperature,
                top_p=config.top_p,
                max_tokens=config.max_tokens,
                **extra,
            )

        choice = self._client.first_choice(send, messages, KNOWN_QUESTION)
        truncated = getattr(choice, "finish_reason", None) == "length"
        return Generation(self._text(getattr(choice, "message", None), truncated), truncated)

    def _text(self, message: Any, truncated: bool) -> str:
        """The text of a server's message, after its reasoning where the server keeps that apart.

        Raises:
            RowError: it is no text.
        """
        content = getattr(message, "content", None)
        if isinstance(content, list):
            parts = [part.get("text") if isinstance(part, dict) else part for part in content]
            content = "".join(part for part in parts if isinstance(part, str))
        if content is not None and not isinstance(content, str):
            raise RowError(f"teachers.{self.name}: expected text as content, got {type(content).__name__}")

        text = content or ""
        reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        if isinstance(reasoning, str):
            is_open = truncated and not text
            text = f"<think>{reasoning}" + ("" if is_open else f"</think>{text}")
        elif truncated and self._opening:
            text = self._opening + text
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError(f"teachers.{self.name}: expected text, got {LONE_SURROGATE}") from None
        return text

    def _log_likelihoods(self, pairs: Sequence[Pair]) -> list[float]:
        return [self._log_likelihood(*pair) for pair in pairs]

    def _log_likelihood(self, context: list[int], response: list[int]) -> float:
        """Nats, summed over the response's tokens given the context's."""
        ids = context + response

        def send(client: openai.OpenAI, ids: list[int]) -> Any:
            return client.completions.create(
                model=self.config.model,
                prompt=ids,
                max_tokens=1,
                temperature=0,
                extra_body={"prompt_logprobs": 0},  # of vLLM: each prompt token's own, and no other's
            )

        choice = self._client.first_choice(send, ids, ids[:1])
        rows = getattr(choice, "prompt_logprobs", None)
        if not isinstance(rows, list) or len(rows) != len(ids):
            returned = len(rows) if isinstance(rows, list) else 0
            raise TeacherError(
                f"teachers.{self.name}.tokenizer: the server at {self.config.base_url} returned {returned} "
                f"prompt_logprobs for {len(ids)} tokens and cannot score; remove `tokenizer` to only generate"
            )

        try:
            values = [
                float(row[str(token)]["logprob"])
                for row, token in zip(rows[len(context) :], response, strict=True)
            ]
        except (KeyError, TypeError, ValueError):
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            raise RowError(
                f"teachers.{self.name}: expected a finite logprob of each token, got another answer"
            )
        return sum(values)


def _prompt_format(name: str, config: EndpointTeacher) -> PromptFormat | None:
    if config.tokenizer is None:
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(config.tokenizer)
    except OSError as error:
        raise ValueError(f"teachers.{name}.tokenizer = {config.tokenizer}: {error}") from error
    return PromptFormat(name, tokenizer, config.max_model_tokens * 3 // 4, config.chat_template_kwargs)
