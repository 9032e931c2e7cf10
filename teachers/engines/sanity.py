"""Known texts that show whether a generative teacher is to be trusted before its output is used."""

from collections.abc import Callable, Sequence

from teachers.corpora.conversations import Message
from teachers.engines.prompts import PromptFormat
from teachers.engines.protocol import Group

KNOWN_SENTENCE = (
    "The sun rises in the east and sets in the west, and at night we can see the moon and the stars."
)
KNOWN_QUESTION: list[Message] = [{"role": "user", "content": "Hi! What did you do at the weekend?"}]
# Responses that begin alike and contexts of several lengths: where scoring from a prefix cache goes wrong.
KNOWN_PAIRS = [
    Group(KNOWN_QUESTION, ["Not much.", "Not much, I slept a lot!", "I went to the sea with my sister."]),
    Group(
        [
            *KNOWN_QUESTION,
            {"role": "assistant", "content": "I was at home, it rained all the time. And you?"},
            {"role": "user", "content": "We had sun here, so we took the bikes and rode along the river."},
        ],
        ["That sounds nice!", "That sounds nice, how far did you get?", "What is your name?"],
    ),
]


def known_sentence_loss(
    prompt_format: PromptFormat,
    system_prompt: str,
    log_likelihoods: Callable[[Sequence[tuple[list[int], list[int]]]], list[float]],
) -> float:
    """Nats per token on plain English: about 3 for a small model, 10 where special tokens are missing."""
    prefix = prompt_format.prefix([], system_prompt)
    sentence = prompt_format.tokenizer(f" {KNOWN_SENTENCE}", add_special_tokens=False).input_ids
    # A base model is not to expect a speaker's turn.
    start = prefix.ids if prompt_format.uses_chat_template else prefix.ids[:1]
    [total] = log_likelihoods([(start, sentence)])
    return -total / len(sentence)


def refuse_above(max_sane_loss: float, loss: float, teacher: str) -> None:
    """Raises ValueError where a teacher's loss on plain English is more than the config allows."""
    if not loss <= max_sane_loss:
        raise ValueError(
            f"teachers.{teacher}: {loss:.2f} nats per token on plain English, more than "
            f"max_sane_loss = {max_sane_loss}; its weights or special tokens are wrong"
        )
