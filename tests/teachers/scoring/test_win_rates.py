"""A judge's scores of a system's responses, worked by hand."""

from typing import Any

import numpy as np

from teachers.scoring.win_rates import ECHO, JudgedResponse, judge_responses, reference_responses


def _row(example_id: str, candidates: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "example_id": example_id,
        "candidates": [{"text": text, "source": source, "teacher": None} for text, source in candidates],
    }


TWO_GENERATED = [("true", "gold"), ("well", "generated"), ("bad", "generated"), ("fine", "retrieved")]


def test_a_response_wins_loses_and_ties() -> None:
    rows = [_row("one", TWO_GENERATED), _row("two", TWO_GENERATED)]
    scores = {"one": np.array([1.0, 3.0, 1.5, 2.0]), "two": np.array([4.0, 5.0, 4.0, 0.0])}
    responses, baseline = {"one": "fine", "two": "true"}, {"one": "well", "two": "fine"}
    assert judge_responses(rows, scores, responses, baseline) == {
        # 2 beats the true 1, of the generated 3 and 1.5 the second, and loses to the baseline's 3.
        "one": JudgedResponse(2.0, 1.0, 0.5, 0.0),
        # The true response itself loses to 5 and ties with 4; the baseline's 0 loses to it.
        "two": JudgedResponse(4.0, 0.5, 0.25, 1.0),
    }


def test_contexts_without_all_scores_or_without_a_generated_response_are_left_out() -> None:
    rows = [
        _row("not scored", TWO_GENERATED),
        _row("score missing", TWO_GENERATED),
        _row("none generated", [("true", "gold"), ("fine", "retrieved")]),
    ]
    scores = {"score missing": np.array([1.0, np.nan, 1.5, 2.0]), "none generated": np.array([1.0, 2.0])}
    responses = {row["example_id"]: "fine" for row in rows}
    assert judge_responses(rows, scores, responses, responses) == {}


def test_references_are_responses_that_no_system_retrieved() -> None:
    row = _row("one", [("true", "gold"), ("drawn", "random"), ("fine", "retrieved")])
    row["candidates"].append({"text": "hello", "source": "retrieved", "teacher": ECHO})
    row["candidates"].append({"text": "well", "source": "generated", "teacher": "smollm2"})
    assert reference_responses([row]) == {
        "human response": {"one": "true"},
        "random response": {"one": "drawn"},
        "echo": {"one": "hello"},
        "smollm2": {"one": "well"},
    }
