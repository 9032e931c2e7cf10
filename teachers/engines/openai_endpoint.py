"""A teacher behind an OpenAI-compatible server: it writes, and scores where its tokenizer is known.

What the client retries (408, 409, 429, 5xx, lost connections; `Retry-After` up to two minutes) is the
`openai` package's. What fails after that is a row's error, unless no other row would fare better.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import openai

from teachers.config import EndpointTeacher, GenerateConfig
from teachers.corpora.conversations import Message
from teachers.engines.likelihood import Pair
from teachers.engines.prompts import PromptFormat
from teachers.engines.protocol import (
    Generation,
    Group,
    PairScore,
    Prompt,
    TeacherError,
    without_reasoning,
)
from teachers.engines.sanity import (
    KNOWN_QUESTION,
    echoes_preferred,
    known_sentence_loss,
    refuse_above,
)

# Wrong key, nothing paid, no right, no such path or model: every row would fail alike.
_REFUSALS = frozenset({401, 402, 403, 404})
_LONGEST_PROBLEM = 300

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class _RowError(ValueError):
    """One request failed; others may not."""


class Endpoint:
    """A served teacher."""

    def __init__(self, name: str, config: EndpointTeacher) -> None:
        self.name = name
        self.config = config
        self._key = _api_key(name, config.api_key_env)
        self._client = openai.OpenAI(
            base_url=config.base_url,
            api_key=self._key or "none",  # the client refuses to have none, a server without keys ignores it
            timeout=config.request_timeout_s,
            max_retries=config.max_retries,
        )
        self.format = _prompt_format(name, config)

    def check(self, scores: bool = True) -> str:
        """One line: the loss on plain English where it can score, and a sample.

        Raises:
            ValueError: the server refuses a known text, or its loss says that the tokenizer is not its own.
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
        [sample] = self.generate(
            [Prompt(KNOWN_QUESTION, self.config.system_prompt, seed=0)], GenerateConfig()
        )
        if sample.error is not None:
            raise ValueError(sample.error)
        served = f"{self.config.model} at {self.config.base_url}"
        return f"{self.name}: {served}, {shown}, writes {sample.text.strip()!r}"

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
                return self._sample(turns, prompt.seed, config)
            except _RowError as error:
                return Generation("", truncated=False, error=str(error))

        return self._side_by_side(sample, [(prompt, self._turns(prompt)) for prompt in prompts])

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
            except _RowError as error:
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

    def _turns(self, prompt: Prompt) -> list[Message] | str:
        """System prompt and the newest turns that fit, or what is wrong."""
        kept = prompt.context
        if self.format is not None:
            try:
                prefix = self.format.prefix(kept, prompt.system_prompt)
            except ValueError as error:
                return str(error)
            # A turn is left out where the prefix is the same without it.
            while len(kept) > 1 and self.format.prefix(kept[1:], prompt.system_prompt) == prefix:
                kept = kept[1:]
        return [{"role": "system", "content": prompt.system_prompt}, *kept] if prompt.system_prompt else kept

    def _pair(self, context: list[Message], text: str) -> Pair | str:
        """Token ids of a context and of a response, or what is wrong."""
        assert self.format is not None, "scores() of a config without a tokenizer is False"
        try:
            prefix = self.format.prefix(context, self.config.system_prompt)
            return prefix.ids, self.format.response(prefix, text)
        except ValueError as error:
            return str(error)

    def _sample(self, turns: list[Message], seed: int, config: GenerateConfig) -> Generation:
        messages: Any = turns  # the client's types tell roles apart
        choice = self._first_choice(
            lambda: self._client.chat.completions.create(
                model=self.config.model,
                messages=messages,
                n=1,
                seed=seed,
                temperature=config.temperature,
                top_p=config.top_p,
                max_tokens=config.max_tokens,
            )
        )
        text = without_reasoning(choice.message.content or "")
        return Generation(text, truncated=choice.finish_reason == "length")

    def _log_likelihoods(self, pairs: Sequence[Pair]) -> list[float]:
        return [self._log_likelihood(*pair) for pair in pairs]

    def _log_likelihood(self, context: list[int], response: list[int]) -> float:
        """Nats, summed over the response's tokens given the context's."""
        ids = context + response
        choice = self._first_choice(
            lambda: self._client.completions.create(
                model=self.config.model,
                prompt=ids,
                max_tokens=1,
                temperature=0,
                extra_body={"prompt_logprobs": 0},  # of vLLM: each prompt token's own, and no other's
            )
        )
        rows = getattr(choice, "prompt_logprobs", None)
        if rows is None or len(rows) != len(ids):
            returned = 0 if rows is None else len(rows)
            raise TeacherError(
                f"teachers.{self.name}.tokenizer: the server at {self.config.base_url} returned {returned} "
                f"prompt_logprobs for {len(ids)} tokens and cannot score; remove `tokenizer` to only generate"
            )
        return sum(
            float(row[str(token)]["logprob"])
            for row, token in zip(rows[len(context) :], response, strict=True)
        )

    def _first_choice(self, request: Callable[[], Any]) -> Any:
        """The only choice of a completion, after the client's retries.

        The client's exceptions hold the request and with it the key: none leaves this function, not
        even as a cause.
        """
        try:
            completion = request()
        except openai.APITimeoutError:
            raise _RowError(
                f"teachers.{self.name}: no answer within {self.config.request_timeout_s:g} s"
            ) from None
        except openai.APIConnectionError as error:
            raise TeacherError(self._unusable(error.__cause__ or error)) from None
        except openai.APIStatusError as error:
            if error.status_code in _REFUSALS:
                raise TeacherError(self._unusable(error)) from None
            raise _RowError(f"teachers.{self.name}: {self._one_line(error)}") from None
        if isinstance(completion, str):  # the client returns what is not JSON as it is
            raise TeacherError(self._unusable(f"no OpenAI-compatible server: it answers {completion[:80]!r}"))
        if not completion.choices:  # a gateway's way to pass on an error with status 200
            raise _RowError(f"teachers.{self.name}: no choices: {self._one_line(completion)}")
        return completion.choices[0]

    def _unusable(self, problem: object) -> str:
        return (
            f"teachers.{self.name}.base_url = {self.config.base_url}, model {self.config.model!r}: "
            f"{self._one_line(problem)}"
        )

    def _one_line(self, problem: object) -> str:
        line = " ".join(str(problem).split())
        # Some servers quote the key that they refuse.
        return (line.replace(self._key, "[key]") if self._key else line)[:_LONGEST_PROBLEM]


def _api_key(name: str, variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    # A header takes no other characters, and the client's error would quote the key.
    if not key or not key.isascii() or not key.isprintable():
        problem = "holds characters that no key has" if key else "is not set"
        raise ValueError(f"teachers.{name}.api_key_env: the environment variable {variable} {problem}")
    return key


def _prompt_format(name: str, config: EndpointTeacher) -> PromptFormat | None:
    if config.tokenizer is None:
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(config.tokenizer)
    except OSError as error:
        raise ValueError(f"teachers.{name}.tokenizer = {config.tokenizer}: {error}") from error
    return PromptFormat(name, tokenizer, config.max_model_tokens * 3 // 4)
