"""Which turns a coverage report measures, and how far shares are apart."""

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from jobs.distillation.stages import embedding
from jobs.execution.run_directory import RunDirectory
from jobs.synthesis.coverage import diversity, drawn_turns, mean_distance, total_variation
from jobs.synthesis.page import coverage_page
from teachers.dataset import write_rows
from teachers.records import SYNTHESISED


def test_of_more_turns_than_are_measured_each_is_as_likely() -> None:
    turns = [str(number) for number in range(2000)]
    assert drawn_turns(iter(turns), 2000) == (turns, 2000)
    kept, count = drawn_turns(iter(turns), 500)
    assert count == 2000 and len(set(kept)) == 500
    by_quarter = Counter(int(turn) // 500 for turn in kept)
    assert all(90 < by_quarter[quarter] < 160 for quarter in range(4))
    assert drawn_turns(iter([]), 5) == ([], 0)


@pytest.mark.weights
def test_repeats_count_as_near_duplicates(ray_cluster: None) -> None:
    said = ["owls eat voles at night", *["bats sleep all day long"] * 3]
    found = embedding(partial(diversity, said))
    assert found["near_duplicates"] == 0.75
    assert mean_distance(np.ones((1, 1), np.float32)) == 0


def test_what_turns_say_is_no_markup(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    turn = {"vertex": "ask", "phenomenon": None, "passage": 0, "teacher": "one"}
    row = {
        "conversation_id": "c",
        "doc_id": "d",
        "axes": [("mood", "calm")],
        "passages": ["<b>of owls</b>"],
        "messages": [{"role": "user", "content": "<script>alert(1)</script>"}],
        "turns": [{**turn, "evidence": "<b>of owls</b>", "start": 0, "end": 14}],
        "failures": [],
        "set_aside": None,
    }
    write_rows(run.at("conversations"), [row], SYNTHESISED)
    write_rows(run.at("rejected", "conversations"), [{**row, "set_aside": "<i>why</i>"}], SYNTHESISED)
    page = coverage_page({"axes": {}, "diversity": {"user": {"turns": 1}}}, {"turns written anew": {}}, run)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not any(tag in page for tag in ("<script", "<b>of", "<i>why"))


def test_distance_is_the_share_that_would_have_to_move() -> None:
    assert total_variation({"a": 0.5, "b": 0.5}, {"a": 0.2, "b": 0.8}) == pytest.approx(0.3)
    assert total_variation({"a": 1.0}, {"a": 1.0}) == 0
