"""The student's input text of a conversation: the same in training, evaluation and serving."""

from collections.abc import Mapping, Sequence


def context_text(messages: Sequence[Mapping[str, str]], turns: int) -> str:
    """Return the newest `turns` turns of `messages` (oldest first), newest first, one per line.

    Newest first, as DiSCo has it, since an encoder cuts a long text at its end. Speakers are not marked:
    the encoder was never trained on markers, and the turns alternate.
    """
    return "\n".join(message["content"] for message in reversed(messages[-turns:]))
