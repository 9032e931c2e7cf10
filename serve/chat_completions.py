"""OpenAI's chat completions over the responder's answers: the requests and answers of its clients.

The shapes are those of https://platform.openai.com/docs/api-reference/chat. `rejoinder` is ours: every
response with its score, where OpenAI's clients keep fields that they do not know.
"""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.messages import Number, RequestBody
from serve.schemas import MAX_K, Question, RespondAnswer


class StreamOptions(RequestBody):
    """Options of a stream."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = Field(default=False, strict=True)


class ChatRequest(Question):
    """`POST /v1/chat/completions`. Settings of generation, such as `temperature`, have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(min_length=1, max_length=200)
    n: Annotated[int, Number] = Field(default=1, ge=1, le=MAX_K)
    stream: bool = Field(default=False, strict=True)
    stream_options: StreamOptions | None = None


class ChatMessage(BaseModel):
    """A response, or the reason why there is none."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None


class Choice(BaseModel):
    """One of the best responses."""

    index: int
    message: ChatMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class Usage(BaseModel):
    """Token counts; nothing is generated, so only the tokens read count."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int


class ChatCompletion(BaseModel):
    """The answer of `POST /v1/chat/completions`; `rejoinder` has every response with its score."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    rejoinder: dict[str, Any]


class Model(BaseModel):
    """A model of OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: Literal["rejoinder"] = "rejoinder"


class ModelList(BaseModel):
    """`GET /v1/models`: the one model."""

    object: Literal["list"] = "list"
    data: list[Model]


class ChatError(BaseModel):
    """An error as OpenAI's clients read it."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: None = None


class ChatErrorAnswer(BaseModel):
    """The answer of a route of OpenAI's API with a status from 400 on."""

    error: ChatError


def completion(model: str, answer: RespondAnswer, n: int, tokens: int) -> ChatCompletion:
    """A chat.completion with the `n` best responses as its choices; `tokens` were read.

    Where there is no answer the one choice has no content, and the reason as its refusal.
    """
    choices: list[Choice] = []
    for index, (text, refusal) in enumerate(_texts(answer, n)):
        choices.append(Choice(index=index, message=ChatMessage(content=text, refusal=refusal)))

    return ChatCompletion(
        **_head("chat.completion", model), choices=choices, usage=_usage(tokens), rejoinder=_ours(answer)
    )


def chunks(
    model: str, answer: RespondAnswer, n: int, tokens: int, include_usage: bool
) -> Iterator[dict[str, Any]]:
    """The same as chat.completion.chunk objects: each choice's role, text and end."""
    head = _head("chat.completion.chunk", model)
    texts = _texts(answer, n)

    for index, (text, refusal) in enumerate(texts):
        content = {"content": text} if refusal is None else {"refusal": refusal}
        last = {"rejoinder": _ours(answer)} if index == len(texts) - 1 else {}
        for delta, finish_reason, more in (
            ({"role": "assistant"}, None, {}),
            (content, None, {}),
            ({}, "stop", last),
        ):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            yield {**head, "choices": [choice], **more}

    if include_usage:
        yield {**head, "choices": [], "usage": _usage(tokens).model_dump()}


def server_sent(events: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The lines of a stream of server-sent events."""
    for event in events:
        yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    yield "data: [DONE]\n\n"


def error_body(message: str, status: int, param: str | None = None) -> dict[str, Any]:
    """An error in the shape that OpenAI's clients read."""
    error = ChatError(
        message=message, type="invalid_request_error" if status < 500 else "server_error", param=param
    )
    return ChatErrorAnswer(error=error).model_dump()


def _head(kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _texts(answer: RespondAnswer, n: int) -> list[tuple[str | None, str | None]]:
    """Each choice's text and refusal, one of which is None."""
    if answer.answer is None:
        return [(None, answer.reason)]
    others = [response.text for response in answer.responses if response.text != answer.answer]
    return [(text, None) for text in [answer.answer, *others][:n]]


def _ours(answer: RespondAnswer) -> dict[str, Any]:
    return answer.model_dump(exclude={"answer"})


def _usage(tokens: int) -> Usage:
    return Usage(prompt_tokens=tokens, total_tokens=tokens)
