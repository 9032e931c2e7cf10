"""Known texts that show whether a generative teacher is to be trusted before its output is used."""

from collections.abc import Callable, Sequence

from teachers.corpora.conversations import Message
from teachers.engines.prompts import PromptFormat
from teachers.engines.protocol import Group

KNOWN_SENTENCE = (
    "The sun rises in the east and sets in the west, and at night we can see the moon and the stars."
)
KNOWN_QUESTION: list[Message] = [{"role": "user", "content": "Hi! What did you do at the weekend?"}]
_KNOWN_CONVERSATION: list[Message] = [
    *KNOWN_QUESTION,
    {"role": "assistant", "content": "I was at home, it rained all the time. And you?"},
    {"role": "user", "content": "We had sun here, so we took the bikes and rode along the river."},
    {"role": "assistant", "content": "How far did you get?"},
    {"role": "user", "content": "To the old mill, and there we had cake."},
    {"role": "assistant", "content": "I know that mill! My uncle worked there."},
    {"role": "user", "content": "Really? What did he do?"},
    {"role": "assistant", "content": "He repaired the wheel, and later he sold the bread."},
    {"role": "user", "content": "I have to ask my grandmother, she knows everybody in the village."},
]
_KNOWN_RESPONSES = [
    "Not much.",
    "Not much, I slept a lot!",
    "Not much, I slept a lot! How about you?",
    "That sounds nice!",
    "That sounds nice, how far did you get?",
    "That sounds nice, how far did you get? I was there once.",
    "I went to the sea with my sister.",
    "I went to the sea with my brother.",
    "I went",
    "What is your name?",
    "No.",
    "No. The parcel arrives on Tuesday.",
]
# Responses that begin alike and contexts of five lengths: where scoring from a prefix cache goes wrong.
KNOWN_PAIRS = [Group(_KNOWN_CONVERSATION[:length], _KNOWN_RESPONSES) for length in range(1, 10, 2)]


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
