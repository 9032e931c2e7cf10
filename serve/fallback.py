"""Who is asked where no response is good enough: an endpoint that speaks OpenAI's chat completions."""

import os
from collections.abc import Mapping, Sequence

import httpx

from serve.config import FallbackConfig


class FallbackError(Exception):
    """The endpoint gave no answer; the message says why."""


class Fallback:
    """One such endpoint."""

    def __init__(self, config: FallbackConfig) -> None:
        key = os.environ.get(config.key_variable)
        self._model = config.model
        self._client = httpx.AsyncClient(
            base_url=config.url.rstrip("/"),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=config.timeout_s,
            transport=httpx.AsyncHTTPTransport(retries=1),  # of the connection, before anything is sent
        )

    async def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The endpoint's answer.

        Raises:
            FallbackError: it cannot be reached, refuses, or says nothing.
        """
        try:
            found = await self._client.post(
                "/chat/completions", json={"model": self._model, "messages": list(messages)}
            )
            found.raise_for_status()
            text = found.json()["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            raise FallbackError(f"the fallback answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise FallbackError(f"the fallback failed ({type(error).__name__})") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise FallbackError("the fallback answered something else than a chat completion") from error
        if not isinstance(text, str) or not text.strip():
            raise FallbackError("the fallback said nothing")
        return text.strip()
