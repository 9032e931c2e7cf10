from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teachers.dataset import read_rows, write_rows
from teachers.records import CANDIDATES, SCORES
from teachers.scoring.config import TargetsConfig
from teachers.scoring.scored_rows import read_scores
from teachers.scoring.targets import write_targets

Scored = dict[str, list[list[float | None] | None]]
"""teacher -> its similarity to each candidate of each context; None: it did not score the context"""

# Two z-scored candidates score 1 and -1: at this temperature 9 to 1, that is [0.9, 0.1].
NINE_TO_ONE = 2 / np.log(9)
GOLD_BEST: list[float | None] = [1.0, 0.0]
GOLD_WORST: list[float | None] = [0.0, 1.0]


def write_inputs(
    folder: Path, splits: list[str], scored: Scored, own_turns: int = 0
) -> tuple[str, dict[str, str]]:
    """CANDIDATES, a row for each of `splits`, and SCORES of similarity teachers, by URI.

    The last `own_turns` candidates of each row are turns of its context.
    """
    candidates = []
    for number, split in enumerate(splits):
        sizes = [len(scores) for teacher in scored.values() if (scores := teacher[number]) is not None]
        num_candidates = max(sizes, default=2)
        texts = []
        for place in range(num_candidates):
            source = "random" if place < num_candidates - own_turns else "context"
            texts.append({"text": f"reply {place}", "source": source})
        candidates.append(
            {
                "example_id": str(number),
                "split": split,
                "context": [],
                "candidates": texts,
                "for_teachers": True,
            }
        )
    write_rows(str(folder / "candidates"), candidates, CANDIDATES)
    for teacher, contexts in scored.items():
        rows = [similarity_row(str(number), scores) for number, scores in enumerate(contexts) if scores]
        write_rows(str(folder / teacher), rows, SCORES)
    return str(folder / "candidates"), {teacher: str(folder / teacher) for teacher in scored}


def similarity_row(example_id: str, scores: list[float | None]) -> dict[str, Any]:
    absent = [None] * len(scores)
    return {
        "example_id": example_id,
        "log_likelihood": absent,
        "prior": absent,
        "tokens": absent,
        "bytes": [8] * len(scores),
        "similarity": scores,
    }


def written(
    folder: Path, splits: list[str], scored: Scored, **config: Any
) -> tuple[dict[str, Any], list[list[float] | None]]:
    """What `write_targets` returns, and the target of each row."""
    counts = write_targets(
        *write_inputs(folder, splits, scored),
        str(folder / "targets"),
        TargetsConfig(**{"combination": "mean_of_distributions", **config}),
    )
    return counts, [row["target_probs"] for row in read_rows(str(folder / "targets"))]


def test_generative_scores_are_normalised_and_similarities_are_not(
    tmp_path: Path,
) -> None:
    candidates, uris = write_inputs(tmp_path, ["train"], {"writer": [None], "retriever": [[0.75, 0.25]]})
    row = {
        "example_id": "0",
        "log_likelihood": [-4.0, -6.0],
        "prior": [-6.0, -5.0],
        "tokens": [2, 4],
        "bytes": [8, 10],
        "similarity": [None, None],
    }
    write_rows(uris["writer"], [row], SCORES)
    scores = dict(read_scores(candidates, uris, "pointwise_mutual_information", "train"))
    # -4 + 6 and -6 + 5
    assert scores["0"].tolist() == [[2.0, -1.0], [0.75, 0.25]]


def test_a_target_by_hand_and_none_where_no_teacher_scored(tmp_path: Path) -> None:
    scored: Scored = {"a": [GOLD_BEST, None, None], "b": [[3.0, 3.0], GOLD_WORST, None]}
    counts, targets = written(tmp_path, ["train"] * 3, scored, temperature=NINE_TO_ONE, weights={"a": 3})
    # 0.75 · 0.9 + 0.25 · 0.5; then b alone.
    assert targets[0] == pytest.approx([0.8, 0.2])
    assert targets[1] == pytest.approx([0.1, 0.9])
    assert targets[2] is None
    assert counts == {
        "with targets": 2,
        "without targets": 1,
        "copies left out": 0,
        "temperatures": {"a": NINE_TO_ONE, "b": NINE_TO_ONE},
        "weights": {"a": 3.0, "b": 1.0},
    }


@pytest.mark.parametrize("absent", [None, float("nan"), float("-inf")])
def test_a_missing_or_infinite_score_is_neutral_lowest_or_leaves_the_teacher_out(
    tmp_path: Path, absent: float | None
) -> None:
    scored: Scored = {"a": [[1.0, absent, 0.0]], "b": [[0.0, 0.0, 0.0]]}
    # a's known scores become 1 and -1, and the missing one 0 or -1: 9 to 3 to 1, or 9 to 1 to 1.
    kept = {"temperature": NINE_TO_ONE, "weights": {"b": 0}}
    assert written(tmp_path, ["train"], scored, missing="neutral", **kept)[1][0] == pytest.approx(
        [9 / 13, 3 / 13, 1 / 13]
    )
    assert written(tmp_path, ["train"], scored, missing="lowest", **kept)[1][0] == pytest.approx(
        [9 / 11, 1 / 11, 1 / 11]
    )
    assert written(tmp_path, ["train"], scored, missing="leave_out")[1][0] == pytest.approx([1 / 3] * 3)


def write_copying_inputs(folder: Path, scores: list[float | None]) -> tuple[str, dict[str, str]]:
    """A training and a test row whose context has said nearly what the third candidate says, and SCORES."""
    texts = ["it was long", "it was short", "How was your day?"]
    candidates = [{"text": text, "source": "retrieved"} for text in texts[: len(scores)]]
    context = [{"role": "user", "content": text} for text in ("hello", "so, how was your day?")]
    rows = []
    for split in ("train", "test"):
        names = {"example_id": split, "split": split, "for_teachers": True}
        rows.append({**names, "context": context, "candidates": candidates})
    write_rows(str(folder / "candidates"), rows, CANDIDATES)
    write_rows(str(folder / "a"), [similarity_row(split, scores) for split in ("train", "test")], SCORES)
    return str(folder / "candidates"), {"a": str(folder / "a")}


def test_a_training_candidate_that_nearly_copies_its_context_has_no_target(tmp_path: Path) -> None:
    inputs = write_copying_inputs(tmp_path, [1.0, 0.0, 50.0])
    config = TargetsConfig(temperature=NINE_TO_ONE)
    counts = write_targets(*inputs, str(tmp_path / "targets"), config)
    train, test = read_rows(str(tmp_path / "targets"))

    # Of 1 and 0 alone: the copy changes neither their mean nor their deviation.
    assert train["target_probs"] == [pytest.approx(0.9), pytest.approx(0.1), None]
    assert np.argmax(test["target_probs"]) == 2, "held-out candidates keep their scores"
    assert counts["copies left out"] == 1


def test_a_row_of_which_only_a_copy_is_scored_has_no_targets(tmp_path: Path) -> None:
    inputs = write_copying_inputs(tmp_path, [None, None, 1.0])
    write_targets(*inputs, str(tmp_path / "targets"), TargetsConfig())
    train, test = read_rows(str(tmp_path / "targets"))
    assert train["target_probs"] is None
    assert test["target_probs"] == [None, None, 1.0]


def test_targets_have_no_own_turns(tmp_path: Path) -> None:
    scored: Scored = {"a": [[1.0, 0.0, 7.0], [1.0, 0.0, 9.0]]}
    inputs = write_inputs(tmp_path, ["test", "validation"], scored, own_turns=1)
    write_targets(*inputs, str(tmp_path / "targets"), TargetsConfig(temperature=NINE_TO_ONE))
    for row in read_rows(str(tmp_path / "targets")):
        assert [candidate["source"] for candidate in row["candidates"]] == ["random", "random"]
        assert row["target_probs"] == pytest.approx([0.9, 0.1])


# Deviations 1 and 3 on validation: the teacher's mean one is 2, and a gap of 8 in training is 4 of them.
VALIDATION_GAPS: list[list[float | None] | None] = [[2.0, 0.0], [0.0, 6.0]]


@pytest.mark.parametrize(
    ("scale", "expected"),
    # Gaps of 2, 4 and 8 units, where 2 units are 9 to 1.
    [("context", [0.9, 0.1]), ("teacher", [81 / 82, 1 / 82]), ("none", [6561 / 6562, 1 / 6562])],
)
def test_a_scale_is_the_unit_of_the_temperature(tmp_path: Path, scale: str, expected: list[float]) -> None:
    splits = ["train", "validation", "validation"]
    scored: Scored = {"a": [[8.0, 0.0], *VALIDATION_GAPS]}
    targets = written(tmp_path, splits, scored, scale=scale, temperature=NINE_TO_ONE)[1]
    assert targets[0] == pytest.approx(expected)


def test_by_the_scale_of_a_teacher_a_small_gap_is_less_sure_than_a_large_one(tmp_path: Path) -> None:
    # Without validation rows the unit is the mean deviation of training rows, of 7 and 0.1.
    scored: Scored = {"a": [[14.0, 0.0], [0.2, 0.0]]}
    targets = written(tmp_path, ["train"] * 2, scored, scale="teacher", temperature=1.0)[1]
    expected = [1 / (1 + np.exp(-14 / 3.55)), 1 / (1 + np.exp(-0.2 / 3.55))]
    assert [row[0] for row in targets if row] == pytest.approx(expected)


def test_teachers_of_weight_0_give_no_target(tmp_path: Path) -> None:
    scored: Scored = {"a": [GOLD_BEST], "b": [None]}
    assert written(tmp_path, ["train"], scored, weights={"a": 0})[1] == [None]


def test_a_temperature_fitted_to_entropy_is_fitted_per_teacher_on_training_rows_only(tmp_path: Path) -> None:
    # [ln 9, 0] has the entropy of [0.9, 0.1], 0.325083, at temperature 1, and its double at 2.
    log9 = float(np.log(9))
    scored: Scored = {"a": [[log9, 0.0], [5.0, 0.0]], "b": [[0.0, 2 * log9], [5.0, 0.0]]}
    config = {"temperature": "entropy", "entropy": 0.325083, "scale": "none"}
    counts, targets = written(tmp_path, ["train", "validation"], scored, **config)
    assert counts["temperatures"] == pytest.approx({"a": 1.0, "b": 2.0}, rel=1e-4)
    assert targets[0] == pytest.approx([0.5, 0.5], abs=1e-4)


def test_a_temperature_fitted_on_validation_is_fitted_there_only(tmp_path: Path) -> None:
    # Gold ahead in 9 of 10 validation contexts: 9 to 1 is best. In training it never is.
    scored: Scored = {"a": [*[GOLD_WORST] * 10, *[GOLD_BEST] * 9, GOLD_WORST]}
    counts, _ = written(tmp_path, ["train"] * 10 + ["validation"] * 10, scored, temperature="validation")
    assert counts["temperatures"]["a"] == pytest.approx(NINE_TO_ONE, rel=1e-3)


def test_fitted_weights_are_each_teachers_share_of_validation_contexts_with_gold_first(
    tmp_path: Path,
) -> None:
    # As sure as these teachers are, w or 1 - w is the gold response's probability: w is 7 in 10. The last
    # validation context, that only one teacher scored, does not count.
    scored: Scored = {
        "a": [GOLD_WORST, *[GOLD_BEST] * 7, *[GOLD_WORST] * 3, GOLD_BEST],
        "b": [GOLD_BEST, *[GOLD_WORST] * 7, *[GOLD_BEST] * 3, None],
    }
    splits = ["train"] + ["validation"] * 11
    counts, targets = written(tmp_path, splits, scored, weights="validation", temperature=0.05)

    assert counts["weights"] == pytest.approx({"a": 0.7, "b": 0.3}, abs=1e-3)
    assert targets[0] == pytest.approx([0.3, 0.7], abs=1e-3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"weights": "validation"}, r"targets\.weights = validation.*candidates\.validation_contexts"),
        (
            {"temperature": "validation"},
            r"targets\.temperature = validation.*candidates\.validation_contexts",
        ),
        ({"temperature": "entropy", "entropy": 0.7}, r"targets\.entropy = 0\.7"),
        ({"weights": {"a": -1.0}}, r"expected 0 or more for a, got -1"),
    ],
)
def test_an_unusable_targets_setting_is_refused_by_name(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        written(tmp_path, ["train"], {"a": [GOLD_BEST]}, **config)


def test_a_scale_cannot_be_fitted_to_a_teacher_that_scored_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"targets\.scale = teacher: a scored no validation or training"):
        written(tmp_path, ["train"], {"a": [None], "b": [GOLD_BEST]}, scale="teacher")


def test_an_entropy_cannot_be_fitted_without_training_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"targets\.temperature = entropy: a scored no training context"):
        written(tmp_path, ["test"], {"a": [GOLD_BEST]}, temperature="entropy")


def test_one_hot_training_targets_give_a_warning_with_their_share_and_the_gap(tmp_path: Path) -> None:
    # Gaps 30, 10 and 1 nats: e^-1 is not one-hot. A lone candidate and a test row do not count.
    scored: Scored = {"a": [[0.0, -30.0, -31.0], [-10.0, 0.0], [1.0, 0.0], [0.0], [1.0, 0.0]]}
    splits = ["train"] * 4 + ["test"]
    counts, _ = written(tmp_path, splits, scored, scale="none", temperature=1.0)

    assert "67% of the training targets" in counts["warning"]
    assert "a 10.00 at temperature 1;" in counts["warning"]
    assert "\n" not in counts["warning"]
    assert "warning" not in written(tmp_path, splits, scored, scale="none", temperature=20.0)[0]


def test_one_hot_teachers_that_disagree_give_a_warning_where_their_softmaxes_are_mixed(
    tmp_path: Path,
) -> None:
    scored: Scored = {"a": [[0.0, -30.0]], "b": [[-30.0, 0.0]]}
    sharp = {"scale": "none", "temperature": 1.0}
    counts, targets = written(tmp_path, ["train"], scored, **sharp)

    assert targets[0] == pytest.approx([0.5, 0.5])
    assert "0% of the training targets and 100% of the teachers' softmaxes" in counts["warning"]
    assert "warning" not in written(tmp_path, ["train"], scored, combination="mean_of_scores", **sharp)[0]
