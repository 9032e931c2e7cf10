"""Pairs of similar texts, held against all pairs."""

import random
from itertools import combinations

import pytest

from teachers.generation.near_duplicates import near_duplicates, share_near_duplicates
from teachers.scratch import hash_64

WORDS = [f"w{number}" for number in range(400)]


def _texts(count: int) -> list[str]:
    """Texts of twelve words, of which many differ from another in one word at an end."""
    generator = random.Random(0)
    texts = [" ".join(generator.sample(WORDS, 12)) for _ in range(count // 2)]
    return texts + [" ".join([*text.split()[:-1], generator.choice(WORDS)]) for text in texts]


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return set(zip(words, words[1:], words[2:], strict=False))


@pytest.mark.parametrize("threshold", [0.3, 0.8])
def test_pairs_equal_those_of_exhaustive_jaccard(threshold: float) -> None:
    texts = _texts(200)
    near = near_duplicates(texts + texts[:5], threshold)
    expected: dict[int, set[int]] = {}
    for one, other in combinations(dict.fromkeys(texts), 2):
        first, second = _shingles(one), _shingles(other)
        if len(first & second) / len(first | second) >= threshold:
            for a, b in ((one, other), (other, one)):
                expected.setdefault(hash_64(a.encode()), set()).add(hash_64(b.encode()))
    # Nine of eleven shingles: near at both thresholds, far enough from 0.3 to be missed hardly ever.
    assert len(expected) == 200

    missed = sum(len(others - near.get(text, set())) for text, others in expected.items())
    assert missed <= 0.02 * len(expected)
    assert all(others <= expected[text] for text, others in near.items())


def test_a_text_is_no_near_duplicate_of_itself_and_a_short_one_of_none() -> None:
    assert near_duplicates(["a b c d"] * 3 + ["oh yes", "yes oh", ""], 0.1) == {}


def test_repeats_count_as_near_duplicates() -> None:
    texts = ["owls eat voles at night", *["bats sleep all day long"] * 3]
    assert share_near_duplicates(texts, 0.7) == 0.75
    near_texts = [*texts, "owls eat voles at night time"]  # three of four shingles: Jaccard 0.75
    assert share_near_duplicates(near_texts, 0.7) == 1
    assert share_near_duplicates(near_texts, 0.8) == 0.6
