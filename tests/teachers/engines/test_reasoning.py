"""Reasoning before a response: cut out, and refused where it leaves no response or spoils scores."""

import pytest

from teachers.config import GenerateConfig
from teachers.engines.protocol import Generation
from teachers.engines.reasoning import (
    check_reasoning,
    ends_in_reasoning,
    opened_by_prompt,
    without_reasoning,
)


@pytest.mark.parametrize(
    ("written", "response"),
    [
        ("<think>The user greets.\n</think>\n\nHi!", "\n\nHi!"),
        ("The user greets.</think>Hi!", "Hi!"),  # the template wrote the opening tag
        ("<think>The user greets, so I", ""),  # the token limit ended it
        ("Well <THINK>hm</think>yes <think>hm</think>no", "Well yes no"),
        ("I think so", "I think so"),
        ("[THINK]They greet.[/THINK]Hi!", "Hi!"),
        ("<think>They greet.</think><response>Hi!</response>", "Hi!"),
        ("analysisThey greet.assistantfinalHi!", "Hi!"),  # gpt-oss without its special tokens
        ("analysis is what I do", "analysis is what I do"),
        ("Here is my thought process: they greet. Here is my response: Hi!", " Hi!"),
    ],
)
def test_reasoning_is_no_part_of_a_response(written: str, response: str) -> None:
    assert without_reasoning(written) == response


@pytest.mark.parametrize(
    "text", ["<think>They greet", "[THINK]They", "analysisThey greet", "Hi <thinking>so"]
)
def test_a_text_may_end_before_the_response_began(text: str) -> None:
    assert ends_in_reasoning(text)


@pytest.mark.parametrize("text", ["Hi!", "", "<think>They greet</think>", "They greet</think>Hi!"])
def test_a_closed_span_is_not_open(text: str) -> None:
    assert not ends_in_reasoning(text)


def test_a_template_may_open_the_span_itself() -> None:
    assert opened_by_prompt("<|assistant|><think>\n") == "<think>"
    # How Qwen3 is kept from thinking.
    assert opened_by_prompt("<|assistant|><think>\n\n</think>\n\n") == ""


def _check(text: str, scores: bool = False, max_tokens: int = 64, tokens_needed: int = 0) -> Generation:
    def sample(config: GenerateConfig) -> Generation:
        is_cut = config.max_tokens < tokens_needed
        return Generation("<think>They" if is_cut else text, truncated=is_cut)

    return check_reasoning(sample, scores, max_tokens, "friend")


def test_a_teacher_whose_sample_ends_in_its_reasoning_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^teachers\.friend: its sample ends within .*enable_thinking: false"
    ):
        _check("<think>They greet")
    with pytest.raises(ValueError, match="after 100 tokens"):
        _check("Hi!", max_tokens=100, tokens_needed=200)


def test_a_teacher_may_reason_where_it_only_writes_and_its_responses_have_the_tokens() -> None:
    text = "<think>They greet</think>Hi!"
    assert _check(text, max_tokens=500, tokens_needed=200).text == text
    with pytest.raises(ValueError, match=r"^teachers\.friend: it reasons before it responds"):
        _check(text, scores=True)
