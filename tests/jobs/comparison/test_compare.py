"""The comparison on the tiny job: two systems that are trained, and no teacher's work done twice."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.reports.publish import GENERATED, marks
from teachers.dataset import read_rows
from tests.jobs.running import run_job

pytestmark = [
    pytest.mark.slow,
    pytest.mark.weights,  # the conversations come with the extra `local`
    pytest.mark.timeout(2700),  # the first test waits for a job and for a comparison
]
BEGIN, END = marks(GENERATED)
ROWS = ["bm25", "untrained", "human-only", "re-ranked", "untrained-sparse", "sparse"]
HUMAN_ONLY = {"student.kl_weight": 0, "candidates.generated_per_teacher": 0}
METRICS = {
    "hits@1/20",
    "hits@1/20+own",
    "own_turn@1",
    "echo@1",
    "mrr",
    "recall@1",
    "recall@10",
    "recall@100",
    "ndcg@10",
}


def _rated(config: Path) -> Path:
    """Two contexts with three rated responses each."""
    rows = [
        {
            "id": f"{context}-{number}",
            "context_id": f"context {context}",
            "messages": [{"role": "user", "content": f"how was day {context}?"}],
            "response": f"it was good {number}",
            "human_scores": {"overall": float(number)},
        }
        for context in range(2)
        for number in range(3)
    ]
    file = config.with_name("rated.jsonl")
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def _out_of_domain(config: Path) -> Path:
    """Two contexts of each of two conversations, with twenty candidates."""
    rows = [
        {
            "id": f"dialogue-{dialogue}-{turn}",
            "messages": [{"role": "user", "content": f"what do you make of article {dialogue}?"}],
            "candidates": [f"paragraph {number} is the best one" for number in range(20)],
            "label": turn,
        }
        for dialogue in range(2)
        for turn in range(2)
    ]
    file = config.with_name("elsewhere.jsonl")
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


@pytest.fixture(scope="module")
def compare_config(run: Path, config: Path) -> Path:
    """The tiny job and one more teacher; what the others made lies in the store of `run`."""
    settings = yaml.safe_load(config.read_text())
    settings["teachers"]["another"] = {**settings["teachers"]["retriever"], "context_turns": 1}
    settings["evaluate"] = {"contexts": 30}
    settings["index"] = {}
    settings["compare"] = {
        "seeds": [1],
        "served": "sparse",
        "judged_contexts": 3,
        "reading_contexts": 2,
        "timed_requests": 10,
        "out_of_domain": str(_out_of_domain(config)),
        "ratings": str(_rated(config)),
        "claims": {
            "teachers are worth something": {
                "system": "sparse",
                "against": "human-only",
                "metric": "hits@1/20+own",
            },
            "anything is": {"system": "re-ranked", "against": "bm25", "held_out": "out_of_domain"},
        },
        "systems": {
            "human-only": {"changes": HUMAN_ONLY},
            "re-ranked": {"changes": {**HUMAN_ONLY, "index.rerank_depth": 5}},
            "sparse": {
                "changes": {
                    "student.kind": "sparse",
                    "student.model": str(config.with_name("sparse-encoder")),
                    "student.sparsity.context_terms": 25,
                },
                "against": ["untrained-sparse", "human-only"],
            },
        },
    }
    file = config.with_name("bench.yaml")
    file.write_text(yaml.safe_dump(settings, sort_keys=False))  # in their order
    return file


@pytest.fixture(scope="module")
def results(config: Path) -> Path:
    """A document with words of its own around the generated part."""
    file = config.with_name("results.md")
    file.write_text(f"# Ours\n\n{BEGIN}\nold figures\n{END}\n\nWhat it means.\n")
    return file


@pytest.fixture(scope="module")
def compared(run: Path, compare_config: Path, results: Path) -> tuple[Path, str]:
    """The run directory of the comparison, and what it printed."""
    location = run.with_name("compared")
    return location, run_job("compare", compare_config, "--run", str(location), "--results", str(results))


def _figures(compared: tuple[Path, str]) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((compared[0] / "report" / "comparison.json").read_text())
    return figures


def test_the_teacher_that_is_new_is_the_only_one_that_runs_and_that_once(compared: tuple[Path, str]) -> None:
    """What the first job stored is used; other candidates find their scores there, too."""
    before_judging, _, judging = compared[1].partition("judge …")
    teacher_work = re.compile(r"  (\w+) (writes|scores): (\d+) to do")
    write, *first, chat, retriever, another = teacher_work.findall(before_judging)
    assert write == ("chat", "writes", "0")
    assert first[:2] == [chat, retriever] == [("chat", "scores", "0"), ("retriever", "scores", "0")]
    assert first[2][:2] == another[:2] and int(first[2][2]) > 0 and another[2] == "0"
    assert ("chat", "writes", "3") in teacher_work.findall(judging)


def test_a_system_borrows_what_it_does_not_change(compared: tuple[Path, str]) -> None:
    """`sparse` changes its student only; each student has a folder of its own."""
    systems = compared[0] / "systems"
    datasets = {"candidates", "scores", "targets"}
    assert datasets < {path.name for path in (systems / "human-only").iterdir()}
    assert not datasets & {path.name for path in (systems / "sparse").iterdir()}
    for student in systems.glob("*/seed-*"):
        assert (student / "student" / "modules.json").is_file() and not (student / "targets").exists()


def test_a_system_that_only_ranks_otherwise_is_not_trained_again(compared: tuple[Path, str]) -> None:
    systems = compared[0] / "systems"
    assert not list((systems / "re-ranked").glob("seed-*"))
    keys = []
    for name in ("human-only", "re-ranked"):
        keys.append(json.loads((systems / name / "stages" / "measure.json").read_text())["key"])
    assert keys[0] != keys[1] and (systems / "re-ranked" / "measured").is_dir()


def test_every_system_is_measured_with_intervals_and_tested(compared: tuple[Path, str]) -> None:
    table, elsewhere = _figures(compared)["tables"]
    assert (elsewhere["contexts"], elsewhere["conversations"], elsewhere["responses"]) == (4, 2, 20)
    assert [set(row["metrics"]) for row in elsewhere["rows"]] == [{"hits@1/20", "mrr"}] * 6
    assert [row["system"] for row in table["rows"]] == ROWS
    assert [row["seeds"] for row in table["rows"]] == [1] * 6
    for row in table["rows"]:
        assert set(row["metrics"]) == METRICS
        for value in row["metrics"].values():
            assert 0 <= value["low"] <= value["mean"] <= value["high"] <= 1
    assert [[other["system"] for other in row["against"]] for row in table["rows"]] == [
        [],
        ["bm25"],
        ["untrained"],
        ["human-only"],
        ["bm25"],
        ["untrained-sparse", "human-only"],
    ]
    measured = read_rows(str(compared[0] / "systems" / "sparse" / "measured"))
    of_table = [row for row in measured if row["set"] == "test"]
    mean = sum(dict(row["metrics"])["mrr"] for row in of_table) / len(of_table)
    assert table["rows"][5]["metrics"]["mrr"]["mean"] == pytest.approx(mean)
    assert len(of_table) == table["contexts"]


def test_claims_have_the_difference_of_their_table_and_a_p_value_for_their_number(
    compared: tuple[Path, str],
) -> None:
    figures = _figures(compared)
    first, second = figures["claims"]
    assert (first["claim"], second["held_out"]) == ("teachers are worth something", "out_of_domain")
    [against] = [
        other for other in figures["tables"][0]["rows"][5]["against"] if other["system"] == "human-only"
    ]
    assert first["difference"] == against["differences"]["hits@1/20+own"]

    raw = sorted(claim["difference"]["p_value"] for claim in (first, second))
    corrected = sorted(claim["corrected_p"] for claim in (first, second))
    assert corrected == [min(1, 2 * raw[0]), max(min(1, 2 * raw[0]), raw[1])]
    assert "teachers are worth something" in (compared[0] / "report" / "index.html").read_text()
    assert "### Claims" in (compared[0] / "report" / "results.md").read_text()


def test_answers_come_from_the_response_set_and_are_judged(compared: tuple[Path, str]) -> None:
    figures = _figures(compared)
    responses = {row["text"] for row in read_rows(str(compared[0] / "response_set"))}
    held_out = {
        row["gold_response"] for row in read_rows(str(compared[0] / "examples")) if row["split"] == "test"
    }
    for read in figures["reading"]:
        assert {answer["text"] for answer in read["answers"]} <= responses
        assert read["gold"] in held_out - responses
    by_system = {row["system"]: row for row in figures["answers"]}
    for name, row in by_system.items():
        if name in ROWS:
            assert 0 < row["distinct_2"] <= 1 and 0 <= row["generated_share"]["mean"] <= 1
        [judge] = row["judgements"]
        assert judge["judge"] == "chat"
        assert 0 <= judge["win_rate_human"]["mean"] <= 1
    assert by_system["untrained"]["judgements"][0]["win_rate_baseline"]["mean"] == 0.5
    assert by_system.keys() == {"human response", "random response", "echo", "chat", *ROWS}
    assert by_system["human response"]["judgements"][0]["win_rate_human"]["mean"] == 0.5
    # `chat` wrote and scored for the sparse one, and had no say in what learned from people alone.
    assert by_system["sparse"]["judgements"][0]["trained_on"]
    assert not by_system["human-only"]["judgements"][0]["trained_on"]


def test_every_student_holds_conversations_without_repeats(compared: tuple[Path, str]) -> None:
    conversations = _figures(compared)["conversations"]["held-out users"]
    assert conversations.keys() == set(ROWS) - {"bm25"}
    for measures in conversations.values():
        assert measures["turns"] > measures["conversations"] > 0
        assert measures["verbatim_repeats"] == 0


def test_the_sparse_student_is_served_from_an_inverted_index_and_keeps_its_budget(
    compared: tuple[Path, str],
) -> None:
    sparsity = _figures(compared)["sparsity"]
    assert set(sparsity) == {"untrained-sparse", "sparse"}
    # The budget holds on the validation contexts; these are others, and few.
    assert sparsity["sparse"]["context_terms"] == pytest.approx(25, rel=0.35)
    served = compared[0] / "systems" / "sparse" / "seed-1"
    [metadata] = (served / "index").glob("*/index.json")
    assert json.loads(metadata.read_text())["kind"] == "inverted"


def test_teachers_are_held_against_people_and_timed(compared: tuple[Path, str]) -> None:
    figures = _figures(compared)
    scorers = {row["scorer"]: row for row in figures["teachers"]["ratings"]}
    assert set(scorers) == {"chat", "chat, mean log-likelihood", "retriever", "another", "ensemble"}
    assert -1 <= scorers["retriever"]["spearman"]["mean"] <= 1
    assert figures["latency"]["students"]["sparse"]["requests"] == 10
    assert figures["latency"]["students"]["sparse"]["p50_ms"] > 0
    # No first line of its own: a random teacher seldom ends its turn before 32 tokens.
    assert figures["latency"]["teachers"].get("chat", {"p50_ms": 1})["p50_ms"] > 0


def test_the_report_shows_every_system(compared: tuple[Path, str], results: Path) -> None:
    page = (compared[0] / "report" / "index.html").read_text()
    document = results.read_text()
    for system in ROWS:
        assert system in page and f"| {system} |" in document
    assert document.startswith("# Ours\n") and document.endswith("What it means.\n")
    assert "old figures" not in document


def test_the_terminal_and_wandb_have_every_system(compared: tuple[Path, str]) -> None:
    """W&B in one run, though every student has reports of its own."""
    table = compared[1].rpartition("by conversation, 30 contexts")[2]
    assert all(f"│ {system}" in table for system in ROWS)
    assert "system 3 of 6, human-only:" in compared[1]
    [wandb_run] = (compared[0] / "wandb").glob("offline-run-*")
    tables = {path.name.split("_")[0] for path in wandb_run.rglob("*.table.json")}
    assert {"systems-by-conversation", "differences-by-conversation", "judged-by-chat"} <= tables


def test_a_second_comparison_trains_and_asks_nothing(
    compared: tuple[Path, str], compare_config: Path
) -> None:
    output = run_job("compare", compare_config, "--run", str(compared[0]))
    assert "…" not in output
    assert "to do" not in output
