"""Known texts that show whether a generative teacher is to be trusted before its output is used."""

from collections.abc import Callable, Sequence

from teachers.corpora.conversations import Message
from teachers.engines.prompts import PromptFormat
from teachers.engines.protocol import Group, PairScore

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


def echoes_preferred(score: Callable[[Sequence[Group]], list[list[PairScore]]]) -> str:
    """Say in how many known contexts a teacher scores the last turn, said again, above the reply to it.

    By mutual information where there are likelihoods. A pair that was not scored does not count.
    """
    places = range(1, len(_KNOWN_CONVERSATION), 2)
    contexts = [_KNOWN_CONVERSATION[:place] for place in places]
    responses = [
        [_KNOWN_CONVERSATION[place]["content"], context[-1]["content"]]
        for place, context in zip(places, contexts, strict=True)
    ]

    in_context = score([Group(*pair) for pair in zip(contexts, responses, strict=True)])
    alone = score([Group([], texts) for texts in responses])

    margins: list[float] = []
    for fits, priors in zip(in_context, alone, strict=True):
        if any(pair.error for pair in (*fits, *priors)):
            continue
        reply, echo = map(_mutual_information, fits, priors)
        margins.append(echo - reply)
    return f"prefers an echo in {sum(margin > 0 for margin in margins)} of {len(margins)} known contexts"


def _mutual_information(pair: PairScore, prior: PairScore) -> float:
    if pair.log_likelihood is None or prior.log_likelihood is None:
        assert pair.similarity is not None
        return pair.similarity
    return pair.log_likelihood - prior.log_likelihood


def refuse_above(max_sane_loss: float, loss: float, teacher: str) -> None:
    """Raises ValueError where a teacher's loss on plain English is more than the config allows."""
    if not loss <= max_sane_loss:
        raise ValueError(
            f"teachers.{teacher}: {loss:.2f} nats per token on plain English, more than "
            f"max_sane_loss = {max_sane_loss}; its weights or special tokens are wrong"
        )
