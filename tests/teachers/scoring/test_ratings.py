"""Ratings as they are read, and rank correlations against numbers worked by hand."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teachers.scoring.ratings import rank_correlations, read_ratings

USR = Path(__file__).parents[3] / "../shared/data/usr_topical_chat/turn.jsonl.gz"


def rated_row(**changed: Any) -> dict[str, Any]:
    row = {
        "id": "r0",
        "context_id": "c0",
        "messages": [{"role": "assistant", "content": "hi"}, {"role": "user", "content": " how  are you "}],
        "response": "fine , thanks",
        "human_scores": {"coherence": 2, "overall": 4.5},
        "system": "Argmax Decoding",
    }
    return {key: value for key, value in {**row, **changed}.items() if value is not None}


def correlated(scores: list[float], ratings: list[float], contexts: str, **options: Any) -> dict[str, Any]:
    return rank_correlations(np.array(scores), np.array(ratings), list(contexts), resamples=200, **options)


@pytest.mark.parametrize("name", ["turn.jsonl", "turn.jsonl.gz"])
def test_rows_are_read_with_every_rating_and_blank_lines_skipped(tmp_path: Path, name: str) -> None:
    lines = f"{json.dumps(rated_row())}\n\n{json.dumps(rated_row(id='r1'))}\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    first, second = read_ratings(str(tmp_path / name))
    assert (first.id, second.id, first.context_id, first.response) == ("r0", "r1", "c0", "fine , thanks")
    assert first.messages[-1] == {"role": "user", "content": "how are you"}
    assert first.human_scores == {"coherence": 2.0, "overall": 4.5}
    assert first.overall == 4.5


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"id": None}, "`id`"),
        ({"context_id": 3}, "`context_id`"),
        ({"response": " "}, "`response`"),
        ({"messages": None}, "`messages`"),
        ({"messages": []}, "`messages`"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "`messages`"),
        ({"messages": [{"role": "user", "content": 1}]}, "`content`"),
        ({"human_scores": [1]}, "`human_scores`"),
        ({"human_scores": {"coherence": 1}}, r"`human_scores\.overall`"),
        ({"human_scores": {"overall": "5"}}, r"`human_scores\.overall`"),
        ({"human_scores": {"overall": 5, "coherence": float("nan")}}, r"`human_scores\.coherence`"),
        ({"human_scores": {"overall": True}}, r"`human_scores\.overall`"),
    ],
)
def test_a_malformed_row_is_refused_by_file_line_and_key(
    tmp_path: Path, changed: dict[str, Any], key: str
) -> None:
    file = tmp_path / "turn.jsonl"
    file.write_text(f"{json.dumps(rated_row())}\n{json.dumps(rated_row(**changed))}\n")
    with pytest.raises(ValueError, match=rf"^turn\.jsonl:2: .*{key}"):
        read_ratings(str(file))


@pytest.mark.parametrize("line", ['{"id": ', "3", "null"])
def test_a_line_that_is_no_object_is_refused_by_file_and_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "turn.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"^turn\.jsonl:1: "):
        read_ratings(str(tmp_path / "turn.jsonl"))


def test_a_missing_ratings_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.jsonl.*does not exist"):
        read_ratings(str(tmp_path / "absent.jsonl"))


@pytest.mark.skipif(not USR.is_file(), reason="the USR ratings are not beside the project, in ../shared/data")
def test_usr_has_six_responses_to_each_of_sixty_contexts() -> None:
    rated = read_ratings(str(USR))
    assert len(rated) == len({row.id for row in rated}) == 360
    assert len({row.context_id for row in rated}) == 60
    # The first row of the file, and the scale.
    assert rated[0].overall == 4.6667
    assert {row.overall for row in rated} <= {round(third / 3, 4) for third in range(3, 16)}


@pytest.mark.parametrize(("sign", "expected"), [(1, 1.0), (-1, -1.0)])
def test_the_same_order_correlates_as_one_and_its_reverse_as_minus_one(sign: int, expected: float) -> None:
    # Only the order matters: the scores are the ratings' cubes.
    ratings = [1.0, 2.0, 3.0, 1.5, 2.5, 4.0, 5.0, 4.5, 3.5]
    correlations = correlated([sign * rating**3 for rating in ratings], ratings, "aaabbbccc")
    for key in ("spearman", "kendall_tau", "spearman within contexts", "kendall_tau within contexts"):
        assert correlations[key] == pytest.approx({"mean": expected, "low": expected, "high": expected})


def test_correlations_with_ties_by_hand() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5. Five pairs agree and
    # one is tied in the scores: 5 / sqrt(5 · 6).
    correlations = correlated([1.0, 2.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], "aaaa")
    assert correlations["spearman"]["mean"] == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert correlations["kendall_tau"]["mean"] == pytest.approx(5 / np.sqrt(30))


def test_context_levels_affect_overall_correlations_only() -> None:
    # Each context is reversed, b's scores and ratings are the higher: of six pairs, two disagree.
    correlations = correlated([2.0, 1.0, 4.0, 3.0], [1.0, 2.0, 3.0, 4.0], "aabb")
    assert correlations["kendall_tau"]["mean"] == pytest.approx((4 - 2) / 6)
    # Differences of ranks are all 1: 1 - 6 · 4 / (4 · 15).
    assert correlations["spearman"]["mean"] == pytest.approx(0.6)
    for key in ("spearman within contexts", "kendall_tau within contexts"):
        assert correlations[key] == pytest.approx({"mean": -1.0, "low": -1.0, "high": -1.0})


def test_correlation_within_contexts_is_the_mean_over_contexts_where_both_vary() -> None:
    # a agrees; b disagrees in one of three pairs; c's ratings and d's scores are constant; e has one row.
    correlations = correlated(
        [1.0, 2.0, 1.0, 2.0, 3.0, 1.0, 2.0, 7.0, 7.0, 1.0],
        [1.0, 2.0, 2.0, 1.0, 3.0, 4.0, 4.0, 1.0, 2.0, 5.0],
        "aabbbccdde",
    )

    assert (correlations["contexts"], correlations["varied contexts"]) == (5, 2)

    within = correlations["kendall_tau within contexts"]
    assert within["mean"] == pytest.approx((1 + 1 / 3) / 2)
    # A quarter of the resamples has a alone, a quarter b alone.
    assert (within["low"], within["high"]) == pytest.approx((1 / 3, 1.0))
    # Squared differences of b's ranks: 1, 1 and 0; 1 - 6 · 2 / (3 · 8).
    assert correlations["spearman within contexts"]["mean"] == pytest.approx((1 + 0.5) / 2)


def test_the_bootstrap_resamples_whole_contexts() -> None:
    # a's and b's responses agree among themselves, and reversed between them: a drawn twice, as one
    # resample of four is, correlates as 1, and a and b together disagree in four of six pairs.
    correlations = correlated([3.0, 4.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], "aabb")["kendall_tau"]
    assert correlations == pytest.approx({"mean": -1 / 3, "low": -1 / 3, "high": 1.0})


def test_responses_without_a_score_are_left_out_and_counted() -> None:
    nan = float("nan")
    scores, ratings = [1.0, nan, 2.0, nan, 3.0, 1.0], [1.0, 9.0, 2.0, 0.0, 4.0, 3.0]
    correlations = correlated(scores, ratings, "aaabcc")
    counts = {"scored": 4, "unscored": 2, "contexts": 2, "varied contexts": 2}
    assert {key: correlations[key] for key in counts} == counts
    kept = correlated([1.0, 2.0, 3.0, 1.0], [1.0, 2.0, 4.0, 3.0], "aacc")
    assert correlations == {**kept, "unscored": 2}


@pytest.mark.filterwarnings("error")
def test_constant_scores_or_ratings_have_no_correlation() -> None:
    nan = float("nan")
    counts = {"scored": 4, "unscored": 0, "contexts": 2, "varied contexts": 0}
    assert correlated([1.0] * 4, [1.0, 2.0, 1.0, 2.0], "aabb") == counts

    unscored = {"scored": 0, "unscored": 2, "contexts": 0, "varied contexts": 0}
    assert correlated([nan, nan], [1.0, 2.0], "ab") == unscored
    # Between contexts it varies: resamples of one context alone are left out.
    correlations = correlated([1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 5.0, 5.0], "aabb")
    assert correlations["kendall_tau"] == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0})
    assert "kendall_tau within contexts" not in correlations


@pytest.mark.filterwarnings("error")
def test_a_single_context_has_no_interval_but_its_correlation() -> None:
    correlations = correlated([1.0, 3.0, 2.0], [1.0, 2.0, 3.0], "aaa")
    third = pytest.approx({"mean": 1 / 3, "low": 1 / 3, "high": 1 / 3})
    assert correlations["kendall_tau"] == correlations["kendall_tau within contexts"] == third
