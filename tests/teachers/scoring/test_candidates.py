"""Candidates of a few made-up examples."""

from pathlib import Path
from typing import Any

from teachers.dataset import read_rows, write_rows
from teachers.records import EXAMPLES, NEIGHBOURS, RESPONSES
from teachers.scoring.candidates import num_training_contexts, write_candidates
from teachers.scoring.config import CandidatesConfig


def example(number: int) -> dict[str, Any]:
    return {
        "example_id": f"{number}",
        "conversation_id": f"conversation {number}",
        "split": "train",
        "context": [{"role": "user", "content": f"how was day {number}?"}],
        "gold_response": f"day {number} was long",
    }


def test_contexts_for_teachers_do_not_depend_on_responses(tmp_path: Path) -> None:
    examples, contexts, nothing = (str(tmp_path / name) for name in ("examples", "contexts", "nothing"))
    drawn = [example(number) for number in range(2)]
    write_rows(examples, [example(number) for number in range(4)], EXAMPLES)
    write_rows(contexts, drawn, EXAMPLES)
    write_rows(nothing, [], NEIGHBOURS)
    written = str(tmp_path / "written")
    write_rows(
        written,
        [{"example_id": row["example_id"], "responses": ["it was short"]} for row in drawn],
        RESPONSES,
    )

    for writers, generated in (({}, 0), ({"chat": written}, 2)):
        output = str(tmp_path / f"candidates of {len(writers)}")
        counts = write_candidates(examples, contexts, writers, nothing, output, CandidatesConfig())

        rows = read_rows(output)
        assert [row["for_teachers"] for row in rows] == [True, True, False, False]
        for row in rows[2:]:
            assert [candidate["source"] for candidate in row["candidates"]] == ["gold"]
        assert (counts["contexts for teachers"], counts["generated"]) == (2, generated)


def test_fewer_contexts_are_scored_than_written_for(tmp_path: Path) -> None:
    uris = {name: str(tmp_path / name) for name in ("examples", "contexts", "nothing", "written", "output")}
    rows = [example(number) for number in range(4)]
    write_rows(uris["examples"], rows, EXAMPLES)
    write_rows(uris["contexts"], rows[1:], EXAMPLES)
    write_rows(uris["nothing"], [], NEIGHBOURS)
    written = [{"example_id": row["example_id"], "responses": ["it was short"]} for row in rows[1:]]
    write_rows(uris["written"], written, RESPONSES)

    config = CandidatesConfig(scored_contexts=2, random=0)
    inputs = uris["examples"], uris["contexts"], {"chat": uris["written"]}, uris["nothing"]
    counts = write_candidates(*inputs, uris["output"], config)

    candidates = read_rows(uris["output"], "train")
    assert [row["for_teachers"] for row in candidates] == [False, True, True, False]
    assert [len(row["candidates"]) for row in candidates] == [1, 2, 2, 2]
    assert counts["contexts for teachers"] == 2


def test_of_conversations_that_nobody_answered_the_contexts_alone_are_used(tmp_path: Path) -> None:
    uris = {
        name: str(tmp_path / name) for name in ("examples", "contexts", "neighbours", "written", "output")
    }
    rows = [example(number) for number in range(5)]
    rows[2]["conversation_id"] = rows[0]["conversation_id"]
    write_rows(uris["examples"], rows, EXAMPLES)
    write_rows(uris["contexts"], [rows[0], rows[1], rows[3]], EXAMPLES)
    nearest = ["day 4 was long", "day 2 was long"]
    write_rows(uris["neighbours"], [{"example_id": "1", "responses": nearest}], NEIGHBOURS)
    written = [{"example_id": "1", "responses": ["it was short"]}, {"example_id": "3", "responses": []}]
    write_rows(uris["written"], written, RESPONSES)

    def sources(**settings: int) -> tuple[list[list[tuple[str, str]]], int]:
        config = CandidatesConfig(human_conversations=1, **settings)
        writers = {"chat": uris["written"]}
        counts = write_candidates(
            uris["examples"], uris["contexts"], writers, uris["neighbours"], uris["output"], config
        )
        candidates = [row["candidates"] for row in read_rows(uris["output"])]
        listed = [[(candidate["source"], candidate["text"]) for candidate in row] for row in candidates]
        return listed, counts["contexts without a gold response"]

    gold = [("gold", "day 0 was long")], [("gold", "day 2 was long")]
    generated = [("generated", "it was short"), ("retrieved", "day 2 was long")]
    assert sources(random=0) == ([gold[0], generated, gold[1]], 1)

    drawn, num_without_gold = sources(random=5)
    assert num_without_gold == 2
    texts = {text for row in drawn for _, text in row}
    assert texts == {"day 0 was long", "day 2 was long", "it was short"}


def test_a_context_from_which_nothing_can_be_learned_is_left_out(tmp_path: Path) -> None:
    uris = {name: str(tmp_path / name) for name in ("examples", "contexts", "neighbours", "output")}
    rows = [example(number) for number in range(3)]
    write_rows(uris["examples"], rows, EXAMPLES)
    write_rows(uris["contexts"], rows, EXAMPLES)
    nearest = [{"example_id": row["example_id"], "responses": ["day 0 was long"]} for row in rows]
    write_rows(uris["neighbours"], nearest, NEIGHBOURS)

    # Nobody wrote, nobody scores, and one of three conversations has human responses: number 2, by the seed.
    config = CandidatesConfig(human_conversations=1, scored_contexts=0)
    inputs = uris["examples"], uris["contexts"], {}, uris["neighbours"]
    write_candidates(*inputs, uris["output"], config)
    assert [row["example_id"] for row in read_rows(uris["output"], "train")] == ["2"]
    assert num_training_contexts(uris["examples"], uris["contexts"], config) == 3
    without_teachers = config.model_copy(update={"generated_per_teacher": 0})
    assert num_training_contexts(uris["examples"], uris["contexts"], without_teachers) == 1


def test_a_context_that_nobody_answered_has_what_was_written_for_it(tmp_path: Path) -> None:
    uris = {
        name: str(tmp_path / name) for name in ("examples", "contexts", "neighbours", "written", "output")
    }
    unanswered = {**example(1), "split": "unanswered", "gold_response": None}
    write_rows(uris["examples"], [example(0), unanswered], EXAMPLES)
    write_rows(uris["contexts"], [unanswered], EXAMPLES)
    write_rows(uris["neighbours"], [{"example_id": "1", "responses": ["day 0 was long"]}], NEIGHBOURS)
    write_rows(uris["written"], [{"example_id": "1", "responses": ["it was short"]}], RESPONSES)

    inputs = uris["examples"], uris["contexts"], {"chat": uris["written"]}, uris["neighbours"]
    write_candidates(*inputs, uris["output"], CandidatesConfig())
    rows = read_rows(uris["output"], "train")
    assert [(row["example_id"], row["for_teachers"]) for row in rows] == [("0", False), ("1", True)]
    assert [candidate["source"] for candidate in rows[1]["candidates"]] == ["generated", "retrieved"]


def test_what_a_conversation_has_said_is_no_candidate_of_any_source(tmp_path: Path) -> None:
    uris = {name: str(tmp_path / name) for name in ("examples", "neighbours", "written", "candidates")}
    rows = [example(number) for number in range(3)]
    rows[0]["context"] = [
        {"role": "user", "content": text} for text in ("Day 1 was LONG!", "day 2: was long?")
    ]
    write_rows(uris["examples"], rows, EXAMPLES)
    write_rows(
        uris["neighbours"], [{"example_id": "0", "responses": ["day 1 was long", "so was 3"]}], NEIGHBOURS
    )
    responses = ["Day 2 was long.", "it was short"]
    write_rows(uris["written"], [{"example_id": "0", "responses": responses}], RESPONSES)

    config = CandidatesConfig(random=2)
    writers = {"chat": uris["written"]}
    write_candidates(
        uris["examples"], uris["examples"], writers, uris["neighbours"], uris["candidates"], config
    )
    first, second, _ = read_rows(uris["candidates"])
    assert [(candidate["source"], candidate["text"]) for candidate in first["candidates"]] == [
        ("gold", "day 0 was long"),
        ("generated", "it was short"),
        ("retrieved", "so was 3"),
    ]
    assert len(second["candidates"]) == 3, "its gold response and the two others as random ones"


def test_the_newest_own_turns_come_after_the_candidates_that_are_ranked(tmp_path: Path) -> None:
    examples, nothing, candidates = (str(tmp_path / name) for name in ("examples", "nothing", "candidates"))
    rows = [{**example(number), "split": "test"} for number in range(30)]
    turns = ["hello", "Fine.", "How was day 0?"]
    rows[0]["context"] = [{"role": "user", "content": text} for text in turns]
    rows[1]["context"] = [{"role": "user", "content": text} for text in ("hello", "Good.", "good")]
    write_rows(examples, [*rows, example(30)], EXAMPLES)
    write_rows(nothing, [], NEIGHBOURS)

    counts = write_candidates(
        examples, nothing, {}, nothing, candidates, CandidatesConfig(evaluation_contexts=3)
    )
    training, *ranked = read_rows(candidates)
    own_turns = []
    for row in ranked:
        assert [candidate["source"] for candidate in row["candidates"][:20]] == ["gold", *["random"] * 19]
        assert {candidate["source"] for candidate in row["candidates"][20:]} == {"context"}
        own_turns.append([candidate["text"] for candidate in row["candidates"][20:]])
    assert own_turns == [["How was day 0?", "Fine."], ["good"], ["how was day 2?"]]
    assert "context" not in [candidate["source"] for candidate in training["candidates"]]
    assert counts["context"] == 4
