"""Rows of TARGETS become the columns and masks of a step."""

from typing import Any

import pytest

from student.config import StudentConfig
from student.training.batches import epoch_batches, step_batch

CONFIG = StudentConfig(context_turns=4)


def row(
    context: str, candidates: list[tuple[str, str]], target_probs: list[float | None] | None
) -> dict[str, Any]:
    return {
        "conversation_id": context,
        "context": [{"role": "user", "content": context}],
        "candidates": [{"text": text, "source": source, "teacher": None} for text, source in candidates],
        "target_probs": target_probs,
    }


def test_a_text_of_two_contexts_is_one_column_and_positive_where_it_is_gold() -> None:
    batch = step_batch(
        [
            row("a", [("yes", "gold"), ("no", "random")], [0.75, 0.25]),
            row("b", [("no", "gold"), ("perhaps", "generated"), ("yes", "retrieved")], [0.5, 0.25, 0.25]),
        ],
        CONFIG,
    )
    assert batch.contexts == ["a", "b"]
    assert batch.responses == ["yes", "no", "perhaps"]
    assert batch.positive_mask.tolist() == [[True, False, False], [False, True, True]]
    # Row a: its random "no" and row b's "perhaps". Row b: "yes", which was retrieved for it, may be right.
    assert batch.negative_weights.tolist() == [[False, True, True], [False, False, False]]
    assert batch.own_mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.target_probs.tolist() == [[0.75, 0.25, 0.0], [0.25, 0.5, 0.25]]


def test_texts_that_differ_in_case_and_punctuation_only_are_one_column() -> None:
    rows = [row("a", [("No!", "gold"), ("x", "random")], None), row("b", [("no", "gold")], None)]
    batch = step_batch(rows, CONFIG)
    assert batch.responses == ["No!", "x"]
    assert batch.positive_mask.tolist() == [[True, False], [True, False]]


def test_a_positive_of_a_context_is_not_its_negative_when_it_is_also_retrieved() -> None:
    batch = step_batch([row("a", [("yes", "gold"), ("yes", "retrieved")], [0.75, 0.25])], CONFIG)
    assert batch.positive_mask.tolist() == [[True]]
    assert batch.target_probs.tolist() == [[1.0]]


def test_gold_then_generated_candidates_are_kept_and_targets_sum_to_one() -> None:
    candidates = [("g", "gold"), ("r1", "random"), ("t", "retrieved"), ("w", "generated")]
    batch = step_batch([row("a", candidates, [0.2, 0.3, 0.3, 0.2])], StudentConfig(max_candidates=3))
    assert batch.responses == ["g", "w", "r1"]
    # 0.2, 0.2, 0.3 of the 0.7 that is left
    assert batch.target_probs[0].tolist() == pytest.approx([2 / 7, 2 / 7, 3 / 7])


def test_a_context_without_targets_keeps_its_positives() -> None:
    batch = step_batch([row("a", [("yes", "gold"), ("no", "random")], None)], CONFIG)
    assert batch.positive_mask.tolist() == [[True, False]]
    assert batch.target_probs.tolist() == [[0.0, 0.0]]


def test_a_context_without_targets_leaves_its_retrieved_candidates_out() -> None:
    batch = step_batch([row("a", [("yes", "gold"), ("near", "retrieved"), ("no", "random")], None)], CONFIG)
    assert batch.responses == ["yes", "no"]


def test_two_such_contexts_of_one_conversation_need_no_column_for_them() -> None:
    rows = [row("a", [(text, "retrieved"), ("x", "random")], None) for text in ("yes", "no")]
    assert step_batch(rows, CONFIG).responses == ["x"]


def test_a_context_that_nobody_answered_learns_what_was_written_for_it() -> None:
    rows = [
        row("a", [("yes", "generated"), ("no", "random")], [0.75, 0.25]),
        row("b", [("no", "gold")], None),
        row("c", [("near", "retrieved")], None),
    ]
    batch = step_batch(rows, StudentConfig(context_turns=4, own_turn_negatives=1))
    assert batch.responses == ["yes", "no", "a", "b", "c"]
    assert batch.positive_mask.tolist()[0] == [True, False, False, False, False]
    assert batch.negative_weights.tolist()[0] == [0, 1, 1, 1, 1]
    assert not batch.positive_mask[2].any() and not batch.target_probs[2].any()


def test_targets_that_were_all_on_dropped_candidates_are_no_targets() -> None:
    candidates = [("yes", "gold"), ("sure", "generated"), ("no", "random")]
    batch = step_batch([row("a", candidates, [0.0, 0.0, 1.0])], StudentConfig(max_candidates=2))
    assert batch.responses == ["yes", "sure"]
    assert batch.target_probs.tolist() == [[0.0, 0.0]]


def test_a_candidate_without_a_target_beside_others_is_in_no_teachers_distribution() -> None:
    candidates = [("yes", "gold"), ("sure", "generated"), ("near", "retrieved"), ("no", "random")]
    batch = step_batch([row("a", candidates, [0.75, None, None, 0.25])], CONFIG)
    assert batch.own_mask.tolist() == [[True, False, False, True]]
    assert batch.target_probs.tolist() == [[0.75, 0.0, 0.0, 0.25]]
    assert batch.positive_mask.tolist() == [[True, True, False, False]]
    assert batch.negative_weights.tolist() == [[False, False, False, True]]


def test_random_negatives_are_negatives_of_every_context_but_their_own() -> None:
    rows = [row("a", [("yes", "gold")], None), row("b", [("no", "gold")], None)]
    batch = step_batch(rows, CONFIG, random_negatives=["YES", "perhaps"])
    assert batch.responses == ["yes", "no", "perhaps"]
    assert batch.negative_weights.tolist() == [[False, True, True], [True, False, True]]
    assert batch.gold.tolist() == [0, 1]


def test_the_newest_own_turns_are_negatives_of_every_context_and_no_candidates() -> None:
    rows = [row("a", [("yes", "gold")], [1.0]), row("b", [("no", "gold"), ("so", "generated")], None)]
    rows[0]["context"] = [{"role": "user", "content": text} for text in ("old", "new", "No.")]
    batch = step_batch(rows, StudentConfig(own_turn_negatives=2))
    assert batch.responses == ["yes", "no", "so", "new", "b"]
    # Row a has said "No.", which is row b's gold response.
    assert batch.negative_weights.tolist() == [
        [False, True, True, True, True],
        [True, False, False, True, True],
    ]
    # What the other context has said is an ordinary negative of this one.
    weighted = step_batch(rows, StudentConfig(own_turn_negatives=2, own_turn_weight=7))
    assert weighted.negative_weights.tolist() == [[0, 7, 1, 7, 1], [1, 0, 0, 1, 7]]
    assert (
        batch.own_mask[:, 3:].sum()
        == batch.positive_mask[:, 3:].sum()
        == batch.target_probs[:, 3:].sum()
        == 0
    )


def test_gold_responses_of_one_conversation_are_no_negatives_of_each_other_unless_said() -> None:
    rows = [
        row(context, [(text, "gold")], None) for context, text in (("a", "one"), ("one", "two"), ("c", "x"))
    ]
    for number in (0, 1):
        rows[number]["conversation_id"] = "same"
    batch = step_batch(rows, CONFIG)
    assert batch.negative_weights.tolist() == [[False, False, True], [True, False, True], [True, True, False]]


def test_a_later_turn_of_the_same_conversation_is_no_negative() -> None:
    turns = ["a", "b", "c", "d", "e"]
    rows = []
    for end in (1, 3):
        rows.append(row("", [(turns[end], "gold")], None))
        rows[-1]["context"] = [{"role": "user", "content": text} for text in turns[:end]]
        rows[-1]["conversation_id"] = "same"
    batch = step_batch([*rows, row("x", [("y", "gold")], None)], StudentConfig(own_turn_negatives=2))
    assert batch.responses == ["b", "d", "y", "a", "c", "x"]
    # The first context has said "a" alone; the second one has said "b", its neighbour's response, too.
    assert batch.negative_weights.tolist() == [
        [False, False, True, True, False, True],
        [True, False, True, True, True, True],
        [True, True, False, True, True, True],
    ]


def test_neighbours_of_one_conversation_stay_together_where_own_turns_are_negatives() -> None:
    rows = [row(f"context {i}", [(f"reply {i}", "gold")], None) for i in range(40)]
    for number in range(40):
        rows[number]["conversation_id"] = f"conversation {number // 4}"
    runs = sorted([f"context {4 * run + i}" for i in range(4)] for run in range(10))
    in_order = [contexts for contexts, _ in steps_of(rows, 0, 0, own_turn_negatives=2)]
    assert sorted(in_order) == runs and in_order != runs

    # A conversation's other responses are no negatives, so a step of one conversation would have none.
    alone = [contexts for contexts, _ in steps_of(rows, 0, 0)]
    assert not any(run in alone for run in runs)


def steps_of(rows: list[dict[str, Any]], epoch: int, first_step: int, **settings: Any) -> list[Any]:
    def windows(size: int) -> Any:
        return (rows[start : start + size] for start in range(0, len(rows), size))

    config = StudentConfig(global_batch_size=4, **settings)
    return [(batch.contexts, batch.responses) for batch in epoch_batches(windows, epoch, first_step, config)]


def test_an_epoch_goes_on_where_it_stopped() -> None:
    rows = [row(f"context {i}", [(f"reply {i}", "gold")], None) for i in range(600)]
    # 600 rows are two windows of 64 steps of 4, and one of 22; the middle one is cut.
    whole = steps_of(rows, 1, 0, random_negatives=3)
    assert len(whole) == 150
    for first in (1, 70, 128, 149):
        assert steps_of(rows, 1, first, random_negatives=3) == whole[first:]
    assert sorted(context for contexts, _ in whole for context in contexts) == sorted(
        f"context {i}" for i in range(600)
    )
    assert all(len(set(responses)) == len(responses) >= 4 for _, responses in whole)


def test_epochs_differ_in_their_steps() -> None:
    rows = [row(f"context {i}", [(f"reply {i}", "gold")], None) for i in range(20)]
    assert steps_of(rows, 0, 0) != steps_of(rows, 1, 0)
