from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from teachers.dataset import read_rows, write_rows
from teachers.engines.protocol import Generation
from teachers.generation.config import ResponseFiltersConfig
from teachers.generation.responses import write_responses
from teachers.records import EXAMPLES

QUESTION = [{"role": "user", "content": "What did you do yesterday evening?"}]
# Twelve words are ten shingles; the first eleven of them nine of those: Jaccard 9/10.
LONG = "I went to the cinema with my sister and my oldest friend"
SHORTER = LONG.rsplit(" ", 1)[0]

Said = dict[str, dict[str, list[str | Generation]]]


@dataclass
class Outcome:
    counts: dict[str, Counter[str]]
    responses: dict[str, dict[str, list[str]]]
    rejected: list[tuple[str, str, str]]


def sifted(
    folder: Path, gold: dict[str, str], said: Said, config: ResponseFiltersConfig | None = None
) -> Outcome:
    """What becomes of teacher -> example_id -> samples, with `gold` as the training replies."""
    examples = [
        {
            "example_id": name,
            "conversation_id": name,
            "split": split,
            "context": QUESTION,
            "gold_response": reply,
        }
        for split, replies in (("train", gold), ("test", {"held-out": "We watched the whole match twice"}))
        for name, reply in replies.items()
    ]
    uri = {name: str(folder / name) for name in ("examples", "contexts", "rejected")}
    write_rows(uri["examples"], examples, EXAMPLES)
    contexts = [row for row in examples if all(row["example_id"] in of for of in said.values())]
    write_rows(uri["contexts"], contexts, EXAMPLES)
    samples = {
        teacher: [
            (
                row["example_id"],
                [
                    text if isinstance(text, Generation) else Generation(text, False)
                    for text in of[row["example_id"]]
                ],
            )
            for row in contexts
        ]
        for teacher, of in said.items()
    }
    outputs = {teacher: str(folder / "responses" / teacher) for teacher in said}
    counts = write_responses(
        uri["examples"], uri["contexts"], samples, outputs, uri["rejected"], config or ResponseFiltersConfig()
    )
    return Outcome(
        counts,
        {
            teacher: {row["example_id"]: row["responses"] for row in read_rows(output)}
            for teacher, output in outputs.items()
        },
        [(row["origin"], row["row"], row["reason"]) for row in read_rows(uri["rejected"])],
    )


GOLD = {"1": "I slept", "2": "Not much, you?", "3": "We sang all the way home after the concert in the park"}


def test_white_space_is_normalised(tmp_path: Path) -> None:
    assert sifted(tmp_path, GOLD, {"a": {"1": [" I  ran\n home "]}}).responses["a"]["1"] == ["I ran home"]


def test_a_text_stands_once_in_a_context_whoever_wrote_it_first(tmp_path: Path) -> None:
    said: Said = {
        "a": {"1": ["I ran home", "i ran home!"]},
        "b": {"1": ["I RAN home.", "i slept...", "I sat"]},
    }
    outcome = sifted(tmp_path, GOLD, said)
    assert outcome.responses == {"a": {"1": ["I ran home"]}, "b": {"1": ["I sat"]}}
    # "I slept" is the context's gold reply.
    assert outcome.counts == {"a": {"kept": 1, "duplicate": 1}, "b": {"kept": 1, "duplicate": 2}}


def test_an_exact_repeat_of_another_contexts_reply_is_kept(tmp_path: Path) -> None:
    said: Said = {
        "a": {"1": [LONG, "not much you"], "2": [LONG, "I slept."]},
        "b": {"1": [], "2": [GOLD["3"]]},
    }
    outcome = sifted(tmp_path, GOLD, said)
    assert outcome.responses["a"] == {"1": [LONG, "not much you"], "2": [LONG, "I slept."]}
    assert outcome.responses["b"] == {"1": [], "2": [GOLD["3"]]}


def test_a_near_duplicate_of_another_response_is_dropped_across_contexts_and_teachers(tmp_path: Path) -> None:
    said: Said = {"a": {"1": [LONG], "2": []}, "b": {"1": [], "2": [SHORTER, "Oh, " + LONG, "I ate"]}}
    outcome = sifted(tmp_path, GOLD, said)
    assert outcome.responses == {"a": {"1": [LONG], "2": []}, "b": {"1": [], "2": ["I ate"]}}
    assert outcome.counts["b"] == {"kept": 1, "near-duplicate": 2}


def test_a_near_duplicate_of_any_training_reply_is_dropped_and_of_a_held_out_one_kept(tmp_path: Path) -> None:
    # Example 3 is no context that the teachers saw.
    said: Said = {"a": {"1": [GOLD["3"] + " yesterday", "We watched the whole match twice yesterday"]}}
    outcome = sifted(tmp_path, GOLD, said, ResponseFiltersConfig(near_duplicates=0.8))
    assert outcome.responses["a"]["1"] == ["We watched the whole match twice yesterday"]
    assert outcome.counts["a"] == {"kept": 1, "near-duplicate": 1}


@pytest.mark.parametrize(("threshold", "kept"), [(0.9, False), (0.91, True), (1.0, True)])
def test_a_near_duplicate_has_at_least_the_similarity_asked_for(
    tmp_path: Path, threshold: float, kept: bool
) -> None:
    said: Said = {"a": {"1": [LONG, SHORTER]}}
    outcome = sifted(tmp_path, GOLD, said, ResponseFiltersConfig(near_duplicates=threshold))
    assert outcome.responses["a"]["1"] == ([LONG, SHORTER] if kept else [LONG])


def test_texts_of_fewer_than_three_words_are_near_to_nothing(tmp_path: Path) -> None:
    said: Said = {"a": {"1": ["oh yes", "oh", "yes oh", "oh no"]}}
    outcome = sifted(tmp_path, GOLD, said, ResponseFiltersConfig(near_duplicates=0.1))
    assert outcome.counts["a"] == {"kept": 4}


def test_counts_add_up_and_the_rejected_dataset_has_all_that_was_dropped(tmp_path: Path) -> None:
    said: Said = {
        "a": {"1": ["", LONG, Generation("It was", True), Generation("", False, "timed out after 60 s")]},
        "b": {"1": ["I do like  it, you fool", SHORTER, "Not much"]},
    }
    (tmp_path / "blocklist.txt").write_text("fool\n")
    outcome = sifted(tmp_path, GOLD, said, ResponseFiltersConfig(blocklist=str(tmp_path / "blocklist.txt")))
    assert outcome.counts == {
        "a": {"kept": 1, "empty": 1, "truncated": 1, "error": 1},
        "b": {"kept": 1, "blocklisted": 1, "near-duplicate": 1},
    }
    assert outcome.rejected == [
        ("a 1", "", "empty"),
        ("a 1", "It was", "truncated"),
        ("a 1", "", "error: timed out after 60 s"),
        ("b 1", "I do like it, you fool", "blocklisted"),
        ("b 1", SHORTER, "near-duplicate"),
    ]
