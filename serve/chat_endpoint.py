"""A remote language model: an endpoint with OpenAI's chat completions."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from serve.config import EndpointConfig


class EndpointError(Exception):
    """The endpoint gave no answer; the message has the reason."""


class ChatEndpoint:
    """One such endpoint; errors call it `name`."""

    def __init__(self, name: str, config: EndpointConfig) -> None:
        key = os.environ.get(config.key_variable or f"REJOINDER_{name.upper()}_KEY", "").strip()
        self._name, self._config = name, config
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(
            base_url=config.url.rstrip("/"),
            headers=self.headers,
            timeout=config.timeout_s,
            transport=httpx.AsyncHTTPTransport(retries=1),  # of the connection, before anything is sent
        )

    async def answer(self, messages: Sequence[Mapping[str, str]], best: str | None) -> tuple[str, str | None]:
        """Return the endpoint's answer, and the text it was shown: `best`, for a grounded endpoint.

        Raises:
            EndpointError: it cannot be reached, refuses, or answers without text.
        """
        config = self._config
        shown = best if config.grounded else None
        newest = messages[-config.context_turns :] if config.context_turns else messages
        sent = [dict(message) for message in newest]

        if shown is not None:
            sent[-1]["content"] = grounded_in(shown, sent[-1]["content"])
        if config.system_prompt is not None:
            sent.insert(0, {"role": "system", "content": config.system_prompt})

        body: dict[str, Any] = {"model": config.model, "messages": sent}
        if config.max_tokens is not None:
            body["max_tokens"] = config.max_tokens
        if config.temperature is not None:
            body["temperature"] = config.temperature

        try:
            answer = await self._client.post("/chat/completions", json=body)
            answer.raise_for_status()
            text = answer.json()["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            raise EndpointError(f"the {self._name} answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise EndpointError(f"the {self._name} failed ({type(error).__name__})") from error
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise EndpointError(
                f"the {self._name} answered something other than a chat completion"
            ) from error

        if not isinstance(text, str) or not text.strip():
            raise EndpointError(f"the {self._name} answered without text")
        # Half of a character, as from a text that was cut between two tokens, could not be sent on.
        return text.strip().encode(errors="replace").decode(), shown


def grounded_in(document: str, question: str) -> str:
    """The message that shows a document with a question, in the form that generators are trained on."""
    return f"Text: {document}\n\n{question}"
