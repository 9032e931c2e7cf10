"""The topics of Python's own help (`pydoc_data`, Python Software Foundation Licence 2) as documents.

Real prose that every installation of Python has; `help("with")` shows one of them.
"""

import re
from collections.abc import Iterator
from pydoc_data.topics import topics
from typing import Any

PYTHON_TOPICS = "python-topics"
_MIN_WORDS = 60
_PLAIN_WORD = re.compile(r"(?<!\S)[A-Za-z’'-]+[,.:;]?(?!\S)")
_MIN_PLAIN = 0.6  # of a paragraph's words; in lists of signatures fewer are
_UNDERLINE = re.compile(r"^[*=^~+-]{3,}$")
_MARKUP = re.compile(r"\*\*|``|\[\d+\]|\(see [^()]*\)|\*(?=\w)|(?<=\w)\*")


def documents() -> Iterator[tuple[str, Any]]:
    """Yield (name, row of a corpus) of each topic that has enough prose."""
    for name, text in sorted(topics.items()):
        prose = " ".join(_prose(text))
        if len(prose.split()) >= _MIN_WORDS:
            yield name, {"doc_id": name, "text": prose}


def _prose(text: str) -> Iterator[str]:
    """Yield the paragraphs, without headings, code, grammar and lists of references."""
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.splitlines()

        is_heading = len(lines) > 1 and _UNDERLINE.match(lines[1])
        is_prose = (
            not lines[0].startswith(" ")
            and re.search(r"[.?!)]$", paragraph.rstrip())
            and len(_PLAIN_WORD.findall(paragraph)) >= _MIN_PLAIN * len(paragraph.split())
        )

        if is_prose and not is_heading and "::=" not in paragraph:
            yield " ".join(_MARKUP.sub("", paragraph).split())
