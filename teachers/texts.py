"""Comparison of texts: when two of them count as the same."""


def text_key(text: str) -> str:
    """Return the key of a text, equal for texts that differ in case only."""
    return text.casefold()
