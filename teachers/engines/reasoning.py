"""What a model writes before its response where it reasons first: found, cut out, refused at the check."""

import re
from collections.abc import Callable

from teachers.config import GenerateConfig
from teachers.engines.protocol import DEFAULT_MAX_TOKENS, Generation

_NAME = r"(?:\w+:)?(?:think|thinking|thought|reasoning)"
_OPENING = rf"(?:<{_NAME}>|\[THINK\]|◁think▷)"
_CLOSING = rf"(?:</{_NAME}>|\[/THINK\]|◁/think▷)"
# Some templates write the opening tag themselves, and a token limit may end the span. gpt-oss names its
# channels, of which special tokens may be left out; Granite 3.2 announces both parts in a sentence.
_SPAN = re.compile(
    rf"{_OPENING}.*?(?:(?P<end>{_CLOSING})|\Z)"
    rf"|\A(?:(?!{_OPENING}).)*(?P<late_end>{_CLOSING})"
    r"|\A<\|channel\|>analysis<\|message\|>.*?(?:(?P<channel_end><\|channel\|>final<\|message\|>)|\Z)"
    r"|\A(?-i:analysis(?=[A-Z\"]).*?(?:(?P<bare_end>assistantfinal)|\Z))"
    r"|\AHere is my thought process:.*?(?:(?P<said_end>Here is my response:)|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_PROMPT_OPENS = re.compile(rf"({_OPENING})\s*\Z", re.IGNORECASE)
_WRAPPED = re.compile(r"\A\s*<response>(.*?)(?:</response>\s*)?\Z", re.DOTALL | re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """Return what a model wrote without its reasoning; empty where it did not get beyond that."""
    response = _SPAN.sub("", text)
    wrapped = _WRAPPED.match(response)
    return wrapped[1] if wrapped else response


def opened_by_prompt(prompt: str) -> str:
    """Return the tag with which a template has the model begin to reason; empty where there is none."""
    tag = _PROMPT_OPENS.search(prompt)
    return tag[1] if tag else ""


def ends_in_reasoning(text: str) -> bool:
    """Whether a text with its opening tag ends before the response began."""
    return any(not any(span.groups()) for span in _SPAN.finditer(text))


def check_reasoning(
    sample: Callable[[GenerateConfig], Generation], scores: bool, max_tokens: int, teacher: str
) -> Generation:
    """Return a teacher's sample as `sample` makes it, with any reasoning that is cut out of responses.

    It may have `max_tokens` where the usual number does not suffice.

    Raises:
        ValueError: the sample ends in the reasoning, or the teacher reasons and is to score.
    """
    generation = sample(GenerateConfig())
    if ends_in_reasoning(generation.text) and max_tokens > DEFAULT_MAX_TOKENS:
        generation = sample(GenerateConfig(max_tokens=max_tokens))

    problem = None
    if ends_in_reasoning(generation.text):
        problem = f"its sample ends within its reasoning after {max(max_tokens, DEFAULT_MAX_TOKENS)} tokens"
    elif scores and _SPAN.search(generation.text):
        problem = "it reasons before it responds, so that responses cannot be scored"
    if problem is not None:
        raise ValueError(
            f"teachers.{teacher}: {problem}; switch it off, as by `chat_template_kwargs: "
            "{enable_thinking: false}`"
        )
    return generation
