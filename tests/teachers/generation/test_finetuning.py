"""Sequences in the teacher's format, and their learned tokens."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from teachers import records
from teachers.config import VllmTeacher
from teachers.dataset import read_rows, write_rows
from teachers.generation.finetuning import LearnedRows, write_sequences
from tests.tiny_models import make_teacher


def _example(split: str, question: str, response: str) -> dict[str, Any]:
    return {"split": split, "context": [{"role": "user", "content": question}], "gold_response": response}


EXAMPLES = [
    _example("train", "hello there", "hi you"),
    _example("validation", "what is new", "not much"),
    _example("test", "secret", "words"),
    _example("test_by_sender", "more secret", "words"),
]


@pytest.mark.parametrize("chat", [True, False])
def test_a_sequence_is_context_response_and_end_of_turn(chat: bool, tmp_path: Path) -> None:
    teacher = VllmTeacher(model=str(make_teacher(tmp_path / "teacher", chat=chat, seed=1)))
    write_rows(str(tmp_path / "examples"), EXAMPLES, records.EXAMPLES)
    examples = LearnedRows(str(tmp_path / "examples"))
    counts = write_sequences(examples, str(tmp_path / "sequences"), "tiny", teacher, 128)
    rows = read_rows(str(tmp_path / "sequences"))

    assert [row["split"] for row in rows] == ["train", "validation"]
    assert counts["sequences"] == 2
    assert counts["tokens"] == sum(len(row["tokens"]) - row["num_known"] for row in rows)

    tokenizer = AutoTokenizer.from_pretrained(teacher.model)
    text = tokenizer.decode(rows[0]["tokens"])
    assert text.index("hello") < text.index("hi you")

    prefixes = [row["tokens"][: row["num_known"]] for row in rows]
    assert prefixes[0] == prefixes[1]
    assert rows[0]["tokens"][row_end(rows)] != rows[1]["tokens"][row_end(rows)]

    if chat:  # the system prompt is not learned, the turns are
        assert teacher.system_prompt.split()[0] in tokenizer.decode(prefixes[0])
        assert "hello" not in tokenizer.decode(prefixes[0])


def row_end(rows: list[dict[str, Any]]) -> int:
    """The first token that is learned."""
    end: int = rows[0]["num_known"]
    return end


def test_examples_too_long_are_counted_and_no_fitting_example_is_refused(tmp_path: Path) -> None:
    teacher = VllmTeacher(model=str(make_teacher(tmp_path / "teacher", chat=False, seed=1)))
    long = _example("train", "hello there", "word " * 200)
    earlier = [{"role": "user", "content": "word " * 40}, {"role": "assistant", "content": "word"}]
    talk = {**EXAMPLES[0], "context": [*earlier, *EXAMPLES[0]["context"]]}
    counts = write_sequences([talk, EXAMPLES[1]], str(tmp_path / "sequences"), "tiny", teacher, 64)

    assert (counts["sequences"], counts["refused"]) == (2, 0)  # without the oldest turn

    counts = write_sequences([EXAMPLES[0], long], str(tmp_path / "sequences"), "tiny", teacher, 64)
    assert (counts["sequences"], counts["refused"]) == (1, 1)
    with pytest.raises(ValueError, match=r"teachers\.tiny: no training conversation of 1 fits"):
        write_sequences([long], str(tmp_path / "sequences"), "tiny", teacher, 64)
