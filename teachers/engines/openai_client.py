"""Requests to an OpenAI-compatible server, and whose fault a failure is.

What the client retries (408, 409, 429, 5xx, lost connections; `Retry-After` up to two minutes) is the
`openai` package's. What fails after that is the server's fault where it fails at a known request, too, and
the row's otherwise: a row's error is kept, the server's fault ends the stage.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import openai

from teachers.config import EndpointTeacher
from teachers.corpora.messages import LONE_SURROGATE
from teachers.engines.protocol import TeacherError

# Wrong key, nothing paid, no right, no such path or model: every row would fail alike.
_REFUSALS = frozenset({401, 402, 403, 404})
# The server says that it is busy or down, which is no row's doing.
_NOT_NOW = frozenset({429, 503})
_CONTENT_REFUSALS = frozenset({400, 413, 422})
_LONGEST_PROBLEM = 300

Content = TypeVar("Content")


class RowError(ValueError):
    """One request failed; others may not."""


class RefusedContentError(RowError):
    """The server refused the content of one request, perhaps for its roles."""


class _ServerError(Exception):
    """The server did not answer after all retries."""

    def __init__(self, problem: str, is_certain: bool, timed_out: bool = False) -> None:
        super().__init__(problem)
        self.is_certain = is_certain
        """Whether the row can't be at fault."""
        self.timed_out = timed_out


class OpenAIClient:
    """The client of one teacher's server."""

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

    def first_choice(
        self, send: Callable[[openai.OpenAI, Content], Any], content: Content, known_content: Content
    ) -> Any:
        """Return the only choice of the completion that `send` gets for `content`.

        The client's exceptions hold the request and with it the key: none leaves this function, not
        even as a cause.

        Raises:
            RowError: the server refuses this content, or fails at it twice and not at `known_content`.
            TeacherError: the server does not answer, or refuses every request alike.
        """
        try:
            return self._choice(send, self._client, content)
        except _ServerError as error:
            failure = error

        # The row's retries took long: what follows them has to end before the batch's time does.
        client = self._client.with_options(max_retries=0) if failure.timed_out else self._client
        if failure.is_certain or not self._answers(send, client, known_content):
            raise TeacherError(
                f"{self.unusable(failure)}; finished batches are kept: run the job again when it answers"
            )

        try:
            return self._choice(send, client, content)
        except _ServerError as error:
            raise RowError(f"teachers.{self.name}: {error}") from None

    def _answers(
        self, send: Callable[[openai.OpenAI, Content], Any], client: openai.OpenAI, known_content: Content
    ) -> bool:
        try:
            self._choice(send, client, known_content)
        except _ServerError:
            return False
        except RowError:
            pass  # a refusal is an answer
        return True

    def _choice(
        self, send: Callable[[openai.OpenAI, Content], Any], client: openai.OpenAI, content: Content
    ) -> Any:
        try:
            completion = send(client, content)
        except UnicodeEncodeError:
            raise RowError(f"teachers.{self.name}: expected text, got {LONE_SURROGATE}") from None
        except openai.APITimeoutError:
            seconds = self.config.request_timeout_s
            raise _ServerError(f"no answer within {seconds:g} s", is_certain=False, timed_out=True) from None
        except openai.APIConnectionError as error:
            raise TeacherError(self.unusable(error.__cause__ or error)) from None
        except openai.APIStatusError as error:
            raise self._of_status(error) from None
        except (openai.APIError, ValueError) as error:  # what says that it is JSON and is not
            raise _ServerError(self.one_line(error), is_certain=False) from None

        if isinstance(completion, str):  # the client returns what is not JSON as it is
            raise TeacherError(self.unusable(f"no OpenAI-compatible server: it answers {completion[:80]!r}"))
        choices = getattr(completion, "choices", None)
        if not choices:  # a gateway's way to pass on an error with status 200
            raise _ServerError(f"no choices: {self.one_line(completion)}", is_certain=False)
        return choices[0]

    def _of_status(self, error: openai.APIStatusError) -> Exception:
        if error.status_code in _REFUSALS:
            return TeacherError(self.unusable(error))
        if error.status_code in _CONTENT_REFUSALS:
            return RefusedContentError(f"teachers.{self.name}: {self.one_line(error)}")
        return _ServerError(self.one_line(error), is_certain=error.status_code in _NOT_NOW)

    def unusable(self, problem: object) -> str:
        """Return the line on a server that cannot be used."""
        return (
            f"teachers.{self.name}.base_url = {self.config.base_url}, model {self.config.model!r}: "
            f"{self.one_line(problem)}"
        )

    def one_line(self, problem: object) -> str:
        """Return a problem as one line that can be stored and shown."""
        line = " ".join(str(problem).encode(errors="backslashreplace").decode().split())
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
