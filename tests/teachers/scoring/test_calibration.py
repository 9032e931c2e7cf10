from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teachers.scoring.calibration import calibrate, compare_ensembles
from teachers.scoring.config import TargetsConfig
from tests.teachers.scoring.test_targets import GOLD_BEST, GOLD_WORST, NINE_TO_ONE, Scored, write_inputs


def calibrated(
    folder: Path, scored: Scored, splits: list[str] | None = None, own_turns: int = 0, **config: Any
) -> dict[str, Any]:
    """The calibration on the test rows, which all rows are unless `splits` says otherwise."""
    contexts = len(next(iter(scored.values())))
    inputs = write_inputs(folder, splits or ["test"] * contexts, scored, own_turns)
    return calibrate(*inputs, TargetsConfig(**config), "test")


def test_gold_is_ranked_among_its_candidates_and_a_tie_counts_against_it(tmp_path: Path) -> None:
    # Ranks 1, 3, 2 (mean 1.5, rounded up) and 2 (mean of 1, 2 and 3).
    scores: list[list[float | None] | None] = [[3, 2, 1], [1, 2, 3], [3, 3, 1], [2, 2, 2]]
    report = calibrated(tmp_path, {"a": scores})["a"]
    assert report["hits@1/20"] == pytest.approx(1 / 4)
    assert report["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert report["contexts"] == 4


def test_a_rank_does_not_depend_on_a_temperature_at_which_probabilities_underflow(tmp_path: Path) -> None:
    report = calibrated(tmp_path, {"a": [[500, 1000, 0]]}, scale="none", temperature=0.1)["a"]
    assert report["mrr"] == 1 / 2


def test_entropy_and_cross_entropy_by_hand(tmp_path: Path) -> None:
    # [0.9, 0.1] and [0.1, 0.9]: entropy 0.325083, and -ln 0.9 and -ln 0.1 are 0.105361 and 2.302585.
    report = calibrated(tmp_path, {"a": [GOLD_BEST, GOLD_WORST]}, temperature=NINE_TO_ONE)
    assert report["a"]["entropy"] == pytest.approx(0.325083, abs=1e-6)
    assert report["a"]["cross_entropy"] == pytest.approx((0.105361 + 2.302585) / 2, abs=1e-6)
    assert "ensemble without a" not in report
    del report["a"]["spread"]
    assert report["ensemble"] == pytest.approx(report["a"])


@pytest.mark.parametrize("scale", ["context", "none"])
def test_spread_is_of_the_given_scores_before_they_are_scaled(tmp_path: Path, scale: str) -> None:
    # Deviations 1 and 2: the missing score is not filled in.
    report = calibrated(tmp_path, {"a": [[0.0, 2.0, None], [4.0, 0.0]]}, scale=scale)
    assert report["a"]["spread"] == pytest.approx(1.5)


def test_a_teacher_prefers_an_own_turn_where_one_scores_above_the_gold_response(tmp_path: Path) -> None:
    # Gold, another response and two own turns: above gold, a tie, below it, and one that was not scored.
    scored: Scored = {"a": [[2, 5, 3, 0], [2, 5, 2, 1], [9, 5, 3, 8], [2, 5, 3, None], None]}
    report = calibrated(tmp_path, scored, own_turns=2)
    assert report["a"]["own_turn>gold"] == report["ensemble"]["own_turn>gold"] == 2 / 4
    assert report["a"]["contexts"] == 4


@pytest.mark.parametrize(("weight", "expected"), [(0.5, 0.0), (3.0, 1.0)])
def test_an_ensemble_prefers_an_own_turn_by_its_weights(
    tmp_path: Path, weight: float, expected: float
) -> None:
    scored: Scored = {"copies": [[0, 1, 2]], "answers": [[2, 1, 0]]}
    report = calibrated(tmp_path, scored, own_turns=1, weights={"copies": weight})
    assert (report["copies"]["own_turn>gold"], report["answers"]["own_turn>gold"]) == (1, 0)
    assert report["ensemble"]["own_turn>gold"] == expected
    assert report["ensemble without copies"]["own_turn>gold"] == 0


def test_own_turns_change_no_other_measure(tmp_path: Path) -> None:
    scored: Scored = {"a": [[1, 2, 3], [3, 2, 1]], "b": [[3, 2, 2], [1, 2, 3]]}
    turns: Scored = {"a": [[1, 2, 3, 9], [3, 2, 1, -9]], "b": [[3, 2, 2, 9], [1, 2, 3, 2]]}
    splits = ["validation", "test"]
    config = {"temperature": "validation", "weights": "validation"}
    report = calibrated(tmp_path / "with", turns, splits, 1, **config)
    for name in ("a", "b", "ensemble", "ensemble without a", "ensemble without b"):
        assert report[name].pop("own_turn>gold") in (0, 1)
    assert report == calibrated(tmp_path / "without", scored, splits, **config)

    compared = []
    for folder in ("with", "without"):
        inputs = str(tmp_path / folder / "candidates"), {name: str(tmp_path / folder / name) for name in "ab"}
        compared.append(compare_ensembles(*inputs, "test", [TargetsConfig()]))
    assert compared[0] == compared[1]


def test_candidates_that_no_teacher_scored_are_not_ranked(tmp_path: Path) -> None:
    # The second context's gold response is one of them, and so there is no rank.
    report = calibrated(tmp_path, {"a": [[2, None, 1], [None, 1, 2]]}, temperature=NINE_TO_ONE)
    assert report["ensemble"]["contexts"] == report["a"]["contexts"] == 1
    assert report["ensemble"]["entropy"] == pytest.approx(0.325083, abs=1e-6)


def test_without_one_of_two_teachers_the_ensemble_is_the_other(tmp_path: Path) -> None:
    scored: Scored = {"a": [GOLD_BEST, None, GOLD_WORST], "b": [GOLD_WORST, GOLD_BEST, None]}
    report = calibrated(tmp_path, scored)
    assert report["ensemble"]["contexts"] == 3
    for left_out, other in (("a", "b"), ("b", "a")):
        del report[other]["spread"]
        assert report[f"ensemble without {left_out}"] == pytest.approx(report[other])


def test_agreement_is_the_mean_kendall_tau_of_every_pair(tmp_path: Path) -> None:
    # b puts one of three pairs the other way round: (2 - 1) / 3. c reverses a, then agrees on what
    # both scored; where one scored nothing, or all alike, there is nothing to agree on.
    scored: Scored = {
        "a": [[3, 2, 1], [3, 2, 1], [3, 2, 1]],
        "b": [[3, 1, 2], None, [1, 1, 1]],
        "c": [[1, 2, 3], [2, 1, None], None],
    }
    agreement = calibrated(tmp_path, scored)["kendall_tau"]

    assert agreement == pytest.approx({"a × b": 1 / 3, "a × c": 0.0, "b × c": -1 / 3})


def test_only_scored_rows_of_the_split_are_measured(tmp_path: Path) -> None:
    scored: Scored = {"a": [GOLD_WORST, GOLD_BEST], "b": [GOLD_BEST, None]}
    report = calibrated(tmp_path, scored, ["train", "test"])
    assert set(report) == {"a", "ensemble", "ensemble without b", "kendall_tau"}
    assert report["a"]["hits@1/20"] == report["a"]["contexts"] == 1
    assert report["kendall_tau"] == {}


def test_an_unfitted_ensemble_has_equal_measures_in_comparison_and_calibration(tmp_path: Path) -> None:
    scored: Scored = {"a": [GOLD_BEST, GOLD_WORST, GOLD_WORST], "b": [GOLD_BEST, GOLD_BEST, None]}
    configs = [TargetsConfig(), TargetsConfig(combination="product_of_experts", temperature=2.0)]
    inputs = write_inputs(tmp_path, ["test"] * 3, scored)
    for config, compared in zip(configs, compare_ensembles(*inputs, "test", configs), strict=True):
        assert compared == pytest.approx(calibrate(*inputs, config, "test")["ensemble"])


@pytest.mark.parametrize("fitted", [{"weights": "validation"}, {"temperature": "validation"}])
def test_fitted_ensembles_are_cross_fitted(tmp_path: Path, fitted: dict[str, Any]) -> None:
    # On even-numbered contexts a is right and b is wrong, on odd-numbered ones the other way round:
    # what fits one half is the worst for the other, while on both together nothing is to be gained.
    scored: Scored = {"a": [GOLD_BEST, GOLD_WORST] * 4, "b": [GOLD_WORST, GOLD_BEST] * 4}
    inputs = write_inputs(tmp_path, ["validation"] * 8, scored)
    config = TargetsConfig(**fitted)
    crossed = compare_ensembles(*inputs, "validation", [config])[0]
    in_sample = calibrate(*inputs, config, "validation")["ensemble"]

    assert in_sample["cross_entropy"] == pytest.approx(np.log(2), abs=1e-3)
    assert crossed["cross_entropy"] > 1
    assert crossed["contexts"] == 8


def test_a_comparison_on_a_split_that_no_teacher_scored_is_refused(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, ["train"], {"a": [GOLD_BEST]})
    with pytest.raises(ValueError, match="test"):
        compare_ensembles(*inputs, "test", [TargetsConfig()])
