"""How a conversation becomes the student's text: the same in training, evaluation and serving."""

from collections.abc import Mapping, Sequence


def context_text(messages: Sequence[Mapping[str, str]], turns: int) -> str:
    """The newest `turns` turns, oldest first, a line each.

    Speakers are not marked: the encoder was never trained on markers, and the turns alternate.
    """
    return "\n".join(message["content"] for message in messages[-turns:])
