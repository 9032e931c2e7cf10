"""Training sequences of a generative teacher: conversations in its own format."""

from collections import Counter
from collections.abc import Iterable, Iterator
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
    """The rows of EXAMPLES that a teacher is trained or validated on; none that systems are tested on."""

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
    """Write SEQUENCES: of each of `examples` context, response and end of turn in the teacher's own format.

    The tokens with which all sequences begin are not learned. Returns counts of `sequences`, of the learned
    `tokens`, and of `refused` examples: too long, or not allowed by tokenizer or template. `examples` are
    iterated twice.

    Raises:
        ValueError: no example fits the format.
    """
    from transformers import AutoTokenizer  # takes seconds, which no other stage should wait for

    tokenizer = AutoTokenizer.from_pretrained(model_folder(teacher.model, teacher.revision))
    format = PromptFormat(name, tokenizer, max_tokens, teacher.chat_template_kwargs)

    counts: Counter[str] = Counter()
    common = _common_prefix(tokens for _, tokens in _sequences(examples, teacher, format, counts))
    if not counts["sequences"]:
        raise ValueError(f"teachers.{name}: no training conversation of {counts['refused']} fits its format")

    # Of a lone sequence, all is learned. The first token has nothing before it that could predict it.
    num_known = max(1, len(common) if counts["sequences"] > 1 else 0)

    def rows() -> Iterator[dict[str, Any]]:
        for split, tokens in _sequences(examples, teacher, format, Counter()):
            yield {"split": split, "tokens": tokens, "num_known": num_known}

    write_rows(output_uri, rows(), SEQUENCES)
    counts["tokens"] -= num_known * counts["sequences"]
    return counts


def _sequences(
    examples: Iterable[dict[str, Any]], teacher: VllmTeacher, format: PromptFormat, counts: Counter[str]
) -> Iterator[tuple[str, list[int]]]:
    """Yield (split, tokens) of those examples that fit; count them."""
    for example in examples:
        try:
            tokens = _tokens(example["context"], example["gold_response"], teacher.system_prompt, format)
        except ValueError:
            counts["refused"] += 1
            continue
        counts["sequences"] += 1
        counts["tokens"] += len(tokens)
        yield example["split"], tokens


def _tokens(context: list[Message], response: str, system_prompt: str, format: PromptFormat) -> list[int]:
    """Return the tokens of context, response and end of turn, without the oldest turns that do not fit.

    Raises:
        ValueError: the last turn and the response do not fit, or the format does not allow them.
    """
    for start in range(len(context)):
        prefix = format.prefix(context[start:], system_prompt)
        tokens = prefix.ids + format.response(prefix, response)
        if len(tokens) <= format.max_tokens:
            return tokens
    raise ValueError(f"the last turn and the response are {len(tokens)} tokens long")


def _common_prefix(sequences: Iterable[list[int]]) -> list[int]:
    """Return the tokens with which all sequences begin."""
    common: list[int] | None = None
    for tokens in sequences:
        common = list(tokens) if common is None else common[: _num_equal(common, tokens)]
    return common or []


def _num_equal(tokens: list[int], other_tokens: list[int]) -> int:
    """Return the number of tokens with which both sequences begin."""
    num_equal = 0
    for token, other_token in zip(tokens, other_tokens, strict=False):
        if token != other_token:
            break
        num_equal += 1
    return num_equal
