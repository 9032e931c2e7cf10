"""Which turns a coverage report measures, and how far shares are apart."""

from collections import Counter

import pytest

from jobs.coverage import drawn_turns, total_variation


def test_of_more_turns_than_are_measured_each_is_as_likely() -> None:
    turns = [str(number) for number in range(2000)]
    assert drawn_turns(iter(turns), 2000) == (turns, 2000)
    kept, count = drawn_turns(iter(turns), 500)
    assert count == 2000 and len(set(kept)) == 500
    by_quarter = Counter(int(turn) // 500 for turn in kept)
    assert all(90 < by_quarter[quarter] < 160 for quarter in range(4))
    assert drawn_turns(iter([]), 5) == ([], 0)


def test_distance_is_the_share_that_would_have_to_move() -> None:
    assert total_variation({"a": 0.5, "b": 0.5}, {"a": 0.2, "b": 0.8}) == pytest.approx(0.3)
    assert total_variation({"a": 1.0}, {"a": 1.0}) == 0
