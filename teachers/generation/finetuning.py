"""What a generative teacher learns before it is asked: the training conversations as it reads them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any

from teachers.config import VllmTeacher
from teachers.corpora.conversations import Message
from teachers.dataset import Rows, write_rows
from teachers.engines.prompts import PromptFormat
from teachers.engines.weights import model_folder
from teachers.inference.store import rows_key
from teachers.records import SEQUENCES

SPLITS = ("train", "validation")


class LearnedRows:
    """The rows of EXAMPLES that a teacher learns or is checked on; none that systems are tested on."""

    def __init__(self, examples_uri: str) -> None:
        self._uri = examples_uri

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for split in SPLITS:
            yield from Rows(self._uri, split)


def learned_key(examples: Iterable[dict[str, Any]]) -> str:
    """Return the key of what a teacher learns, rows of EXAMPLES, as it stands in the store."""
    # Stores are older than the column's name, and a fine-tuned teacher is dear: there it is `reply`.
    rows = (_with_reply(example) for example in examples)
    return rows_key(rows)


def _with_reply(example: dict[str, Any]) -> dict[str, Any]:
    row = dict(example)
    row["reply"] = row.pop("gold_response")
    return row


def write_sequences(
    examples: Iterable[dict[str, Any]], output_uri: str, name: str, teacher: VllmTeacher, max_tokens: int
) -> Counter[str]:
    """Writes SEQUENCES: of each of `examples` context, reply and end of turn in the teacher's own format.

    What all sequences begin with is known and not learned. Returns counts of `sequences`, `tokens` that are
    learned, and `refused`, which the tokenizer or the template does not allow or which are too long.
    `examples` are iterated twice.

    Raises:
        ValueError: no sequence is left.
    """
    from transformers import AutoTokenizer  # takes seconds, which no other stage should wait for

    tokenizer = AutoTokenizer.from_pretrained(model_folder(teacher.model))
    format = PromptFormat(name, tokenizer, max_tokens)
    counts: Counter[str] = Counter()
    common = _common(tokens for _, tokens in _sequences(examples, teacher, format, counts))
    if not counts["sequences"]:
        raise ValueError(f"teachers.{name}: no training conversation of {counts['refused']} fits its format")
    # Of a lone sequence, all is learned. The first token has nothing before it that could predict it.
    num_known = max(1, len(common) if counts["sequences"] > 1 else 0)
    rows = (
        {"split": split, "tokens": tokens, "num_known": num_known}
        for split, tokens in _sequences(examples, teacher, format, Counter())
    )
    write_rows(output_uri, rows, SEQUENCES)
    counts["tokens"] -= num_known * counts["sequences"]
    return counts


def _sequences(
    examples: Iterable[dict[str, Any]], teacher: VllmTeacher, format: PromptFormat, counts: Counter[str]
) -> Iterator[tuple[str, list[int]]]:
    """(split, tokens) of those examples that fit; counts them."""
    for example in examples:
        try:
            tokens = _tokens(example["context"], example["gold_response"], teacher.system_prompt, format)
        except ValueError:
            counts["refused"] += 1
            continue
        counts["sequences"] += 1
        counts["tokens"] += len(tokens)
        yield example["split"], tokens


def _tokens(context: list[Message], reply: str, system_prompt: str, format: PromptFormat) -> list[int]:
    """Context, reply and end of turn, without as many of the oldest turns as are too many.

    Raises:
        ValueError: the last turn and the reply do not fit, or the format does not allow them.
    """
    for start in range(len(context)):
        prefix = format.prefix(context[start:], system_prompt)
        tokens = prefix.ids + format.response(prefix, reply)
        if len(tokens) <= format.max_tokens:
            return tokens
    raise ValueError(f"the last turn and the reply are {len(tokens)} tokens long")


def _common(sequences: Iterable[list[int]]) -> list[int]:
    """Tokens that all sequences begin with."""
    common: list[int] | None = None
    for tokens in sequences:
        pairs = zip(tokens if common is None else common, tokens, strict=False)
        common = [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return common or []
