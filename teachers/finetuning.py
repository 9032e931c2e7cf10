"""What a generative teacher learns before it is asked: the training conversations as it reads them."""

from collections import Counter
from typing import Any

from transformers import AutoTokenizer

from teachers.config import VllmTeacher
from teachers.packaged import model_folder
from teachers.prompts import PromptFormat
from teachers.records import SEQUENCES, write_rows

SPLITS = ("train", "validation")


def learned_rows(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of EXAMPLES that a teacher learns or is checked on; none that systems are tested on."""
    return [row for row in examples if row["split"] in SPLITS]


def write_sequences(
    examples: list[dict[str, Any]], output_uri: str, name: str, teacher: VllmTeacher, max_tokens: int
) -> Counter[str]:
    """Writes SEQUENCES: of each of `examples` context, reply and end of turn in the teacher's own format.

    What all sequences begin with is known and not learned. Returns counts of `sequences`, `tokens` that are
    learned, and `refused`, which the tokenizer or the template does not allow or which are too long.

    Raises:
        ValueError: no sequence is left.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_folder(teacher.model))
    format = PromptFormat(name, tokenizer, max_tokens)
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for example in examples:
        try:
            prefix = format.prefix(example["context"], teacher.system_prompt)
            tokens = prefix.ids + format.response(prefix, example["reply"])
        except ValueError:
            counts["refused"] += 1
            continue
        if len(tokens) > max_tokens:
            counts["refused"] += 1
            continue
        rows.append({"split": example["split"], "tokens": tokens})
    if not rows:
        raise ValueError(f"teachers.{name}: no training conversation of {len(examples)} fits its format")
    # The first token has nothing before it that could predict it.
    num_known = max(1, _num_common([row["tokens"] for row in rows]))
    write_rows(output_uri, [{**row, "num_known": num_known} for row in rows], SEQUENCES)
    counts["sequences"] = len(rows)
    counts["tokens"] = sum(len(row["tokens"]) - num_known for row in rows)
    return counts


def _num_common(sequences: list[list[int]]) -> int:
    """Tokens that all sequences begin with; of a lone one, none."""
    if len(sequences) == 1:
        return 0
    columns = enumerate(zip(*sequences, strict=False))
    return next((place for place, found in columns if len(set(found)) > 1), min(map(len, sequences)))
