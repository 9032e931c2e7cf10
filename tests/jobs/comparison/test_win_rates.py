"""What the judges' scores say of a system's answers, worked by hand."""

from pathlib import Path
from typing import Any

import pytest

from jobs.comparison.config import parse_comparison
from jobs.comparison.win_rates import WinRates, trained_by
from jobs.execution.job import Job
from jobs.execution.run_directory import RunDirectory
from jobs.execution.tracking import Tracker
from teachers.dataset import write_rows
from teachers.records import CANDIDATES, EXAMPLES, SCORES

ANSWERS = {"one": "fine", "two": "true two"}
BASELINE = {"one": "bad", "two": "true two"}


@pytest.fixture
def base(tmp_path: Path) -> Job:
    """Two test contexts, and the judges `smollm2` and `gemma3`, of which the second scored just one."""
    config, _ = parse_comparison(["--config", "configs/bench.yaml"])
    job = Job(config, RunDirectory(str(tmp_path)), Tracker(None, ".", {}))
    context = [{"role": "user", "content": "hi"}]
    texts = {
        "one": [("true one", "gold"), ("well", "generated"), ("bad", "generated"), ("fine", "retrieved")],
        "two": [("true two", "gold"), ("well", "generated")],
        "rated": [("so-so", "retrieved")],
    }
    examples: list[dict[str, Any]] = [
        {
            "example_id": name,
            "conversation_id": name,
            "split": "test",
            "context": context,
            "gold_response": f"true {name}",
        }
        for name in ("one", "two")
    ]
    write_rows(job.run.at("examples"), examples, EXAMPLES)
    rows = [
        {
            "example_id": name,
            "split": "test",
            "context": context,
            "candidates": [
                {"text": text, "source": source, "teacher": "smollm2" if text == "well" else None}
                for text, source in candidates
            ],
            "for_teachers": True,
        }
        for name, candidates in texts.items()
    ]
    write_rows(job.run.at("judged", "candidates"), rows, CANDIDATES)
    scores = {"one": [1.0, 3.0, 1.5, 2.0], "two": [4.0, 5.0], "rated": [9.0]}
    for judge, names in {"smollm2": ["one", "two", "rated"], "gemma3": ["one"]}.items():
        rows = [
            {
                "example_id": name,
                "log_likelihood": [score - 7 for score in scores[name]],
                "prior": [-7.0] * len(scores[name]),
                "tokens": [2] * len(scores[name]),
                "bytes": [8] * len(scores[name]),
                "similarity": [None] * len(scores[name]),
            }
            for name in names
        ]
        write_rows(job.run.at("judged", "scores", judge), rows, SCORES)
    return job


def test_an_answer_wins_loses_or_ties(base: Job) -> None:
    smollm2, gemma3 = WinRates(base, 2, BASELINE).of_system(ANSWERS, set())
    # One: 2 beats the true 1, and of the written 3 and 1.5 the second. Two: the true reply, 4, under 5.
    assert smollm2.score.mean == pytest.approx((2 + 4) / 2)
    assert smollm2.win_rate_human.mean == pytest.approx((1 + 0.5) / 2)
    assert smollm2.win_rate_generated.mean == pytest.approx((0.5 + 0) / 2)
    assert gemma3.win_rate_generated.mean == 0.5
    # One: 2 beats the baseline's 1.5. Two: the baseline responds alike.
    assert smollm2.win_rate_baseline.mean == pytest.approx((1 + 0.5) / 2)
    assert (smollm2.against, smollm2.win_rate_against) == (None, None)
    assert gemma3.judge == "gemma3"


def test_a_system_is_judged_beside_the_one_that_it_is_tested_against(base: Job) -> None:
    others = {"one": "well", "two": ANSWERS["two"]}
    smollm2, _ = WinRates(base, 2, BASELINE).of_system(ANSWERS, set(), ("other", others))
    # One: 2 loses to 3. Two: both respond alike.
    assert smollm2.against == "other" and smollm2.win_rate_against is not None
    assert smollm2.win_rate_against.mean == pytest.approx((0 + 0.5) / 2)


def test_references_are_the_human_response_and_those_of_teachers(base: Job) -> None:
    references = WinRates(base, 2, BASELINE).references()
    assert references["human response"] == {"one": "true one", "two": "true two"}
    assert references["smollm2"] == {"one": "well", "two": "well"}


def test_a_judge_that_taught_nobody_judges_alone(base: Job) -> None:
    base.config.compare.judges = {"gemma3": base.config.teachers["gemma3"]}
    [judgement] = WinRates(base, 2, BASELINE).of_system(ANSWERS, {"smollm2"})
    assert (judgement.judge, judgement.trained_on) == ("gemma3", False)


def test_a_judge_that_trained_the_system_speaks_only_where_no_other_can(base: Job) -> None:
    win_rates = WinRates(base, 2, BASELINE)
    [other] = win_rates.of_system(ANSWERS, {"gemma3", "minilm"})
    assert (other.judge, other.trained_on) == ("smollm2", False)
    both = win_rates.of_system(ANSWERS, {"smollm2", "gemma3"})
    assert [(one.judge, one.trained_on) for one in both] == [("smollm2", True), ("gemma3", True)]


@pytest.mark.parametrize(
    ("system", "teachers"),
    [
        ("human-only", set()),
        ("data-level", {"smollm2", "gemma3"}),  # they wrote
        ("minilm-alone", {"smollm2", "gemma3", "minilm"}),  # it scored, they wrote
    ],
)
def test_a_teacher_that_wrote_or_scored_has_trained_the_system(
    base: Job, system: str, teachers: set[str]
) -> None:
    config, _ = parse_comparison(["--config", "configs/bench.yaml"])
    base.config = config.system(system, 0)
    assert trained_by(base) == teachers
