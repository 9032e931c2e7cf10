from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teachers.dataset import read_rows, write_rows
from teachers.engines.protocol import Generation
from teachers.generation.config import ResponseFiltersConfig
from teachers.generation.responses import shortened, write_responses
from teachers.records import EXAMPLES

QUESTION = [{"role": "user", "content": "What did you do yesterday evening?"}]
# Twelve words are ten shingles; the first eleven of them nine of those: Jaccard 9/10.
LONG = "I went to the cinema with my sister and my oldest friend"
SHORTER = LONG.rsplit(" ", 1)[0]

Samples = dict[str, dict[str, list[str | Generation]]]


@dataclass
class Outcome:
    counts: dict[str, Counter[str]]
    responses: dict[str, dict[str, list[str]]]
    rejected: list[tuple[str, str, str]]


def select(
    folder: Path, gold: dict[str, str], samples: Samples, config: ResponseFiltersConfig | None = None
) -> Outcome:
    """Write responses out of teacher -> example_id -> samples, with `gold` as the training responses."""
    held_out = {"held-out": "We watched the whole match twice"}
    examples: list[dict[str, Any]] = []
    for split, responses in (("train", gold), ("test", held_out)):
        for name, response in responses.items():
            examples.append(
                {
                    "example_id": name,
                    "conversation_id": name,
                    "split": split,
                    "context": QUESTION,
                    "gold_response": response,
                }
            )
    uris = {name: str(folder / name) for name in ("examples", "contexts", "rejected")}
    write_rows(uris["examples"], examples, EXAMPLES)
    contexts = [row for row in examples if all(row["example_id"] in texts for texts in samples.values())]
    write_rows(uris["contexts"], contexts, EXAMPLES)

    generations: dict[str, list[tuple[str, list[Generation]]]] = {teacher: [] for teacher in samples}
    for teacher, texts in samples.items():
        for row in contexts:
            by_teacher = [_generation(text) for text in texts[row["example_id"]]]
            generations[teacher].append((row["example_id"], by_teacher))
    outputs = {teacher: str(folder / "responses" / teacher) for teacher in samples}
    counts = write_responses(
        uris["examples"],
        uris["contexts"],
        generations,
        outputs,
        uris["rejected"],
        config or ResponseFiltersConfig(),
    )

    written: dict[str, dict[str, list[str]]] = {}
    for teacher, output in outputs.items():
        written[teacher] = {row["example_id"]: row["responses"] for row in read_rows(output)}
    rejected = [(row["origin"], row["row"], row["reason"]) for row in read_rows(uris["rejected"])]
    return Outcome(counts, written, rejected)


def _generation(sample: str | Generation) -> Generation:
    return sample if isinstance(sample, Generation) else Generation(sample, False)


GOLD = {"1": "I slept", "2": "Not much, you?", "3": "We sang all the way home after the concert in the park"}


def test_white_space_is_normalised(tmp_path: Path) -> None:
    assert select(tmp_path, GOLD, {"a": {"1": [" I  ran\n home "]}}).responses["a"]["1"] == ["I ran home"]


def test_a_context_has_a_text_once_from_the_first_teacher(tmp_path: Path) -> None:
    samples: Samples = {
        "a": {"1": ["I ran home", "i ran home!"]},
        "b": {"1": ["I RAN home.", "i slept...", "I sat"]},
    }
    outcome = select(tmp_path, GOLD, samples)

    assert outcome.responses == {"a": {"1": ["I ran home"]}, "b": {"1": ["I sat"]}}
    # "I slept" is the context's gold response.
    assert outcome.counts == {"a": {"kept": 1, "duplicate": 1}, "b": {"kept": 1, "duplicate": 2}}


def test_a_context_that_nobody_answered_keeps_what_was_written_for_it(tmp_path: Path) -> None:
    unanswered = {
        "example_id": "a",
        "conversation_id": "a",
        "split": "unanswered",
        "context": QUESTION,
        "gold_response": None,
    }
    uris = [str(tmp_path / name) for name in ("examples", "contexts")]
    for uri in uris:
        write_rows(uri, [unanswered], EXAMPLES)
    samples = {"chat": [("a", [_generation("I slept.")])]}
    outputs = {"chat": str(tmp_path / "chat")}, str(tmp_path / "rejected")
    write_responses(*uris, samples, *outputs, ResponseFiltersConfig())
    assert read_rows(outputs[0]["chat"]) == [{"example_id": "a", "responses": ["I slept."]}]


def test_an_exact_repeat_of_another_contexts_response_is_kept(tmp_path: Path) -> None:
    samples: Samples = {
        "a": {"1": [LONG, "not much you"], "2": [LONG, "I slept."]},
        "b": {"1": [], "2": [GOLD["3"]]},
    }
    outcome = select(tmp_path, GOLD, samples)
    assert outcome.responses["a"] == {"1": [LONG, "not much you"], "2": [LONG, "I slept."]}
    assert outcome.responses["b"] == {"1": [], "2": [GOLD["3"]]}


def test_a_near_duplicate_of_another_response_is_dropped_across_contexts_and_teachers(tmp_path: Path) -> None:
    samples: Samples = {"a": {"1": [LONG], "2": []}, "b": {"1": [], "2": [SHORTER, "Oh, " + LONG, "I ate"]}}
    outcome = select(tmp_path, GOLD, samples)
    assert outcome.responses == {"a": {"1": [LONG], "2": []}, "b": {"1": [], "2": ["I ate"]}}
    assert outcome.counts["b"] == {"kept": 1, "near-duplicate": 2}


def test_near_duplicates_of_held_out_responses_are_kept(
    tmp_path: Path,
) -> None:
    # The teachers did not see the context of example 3.
    samples: Samples = {"a": {"1": [GOLD["3"] + " yesterday", "We watched the whole match twice yesterday"]}}
    outcome = select(tmp_path, GOLD, samples, ResponseFiltersConfig(near_duplicates=0.8))
    assert outcome.responses["a"]["1"] == ["We watched the whole match twice yesterday"]
    assert outcome.counts["a"] == {"kept": 1, "near-duplicate": 1}


@pytest.mark.parametrize(("threshold", "kept"), [(0.9, False), (0.91, True), (1.0, True)])
def test_a_near_duplicate_has_at_least_the_threshold_similarity(
    tmp_path: Path, threshold: float, kept: bool
) -> None:
    samples: Samples = {"a": {"1": [LONG, SHORTER]}}
    outcome = select(tmp_path, GOLD, samples, ResponseFiltersConfig(near_duplicates=threshold))
    assert outcome.responses["a"]["1"] == ([LONG, SHORTER] if kept else [LONG])


def test_texts_under_three_words_have_no_near_duplicates(tmp_path: Path) -> None:
    samples: Samples = {"a": {"1": ["oh yes", "oh", "yes oh", "oh no"]}}
    outcome = select(tmp_path, GOLD, samples, ResponseFiltersConfig(near_duplicates=0.1))
    assert outcome.counts["a"] == {"kept": 4}


def test_counts_sum_to_the_samples_and_the_rejected_dataset_has_every_dropped_one(tmp_path: Path) -> None:
    samples: Samples = {
        "a": {"1": ["", LONG, Generation("It was", True), Generation("", False, "timed out after 60 s")]},
        "b": {"1": ["I do like  it, you fool", SHORTER, "Not much"]},
    }
    (tmp_path / "blocklist.txt").write_text("fool\n")
    outcome = select(
        tmp_path, GOLD, samples, ResponseFiltersConfig(blocklist=str(tmp_path / "blocklist.txt"))
    )

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


def test_a_sample_that_nearly_copies_a_turn_of_its_context_is_rejected(tmp_path: Path) -> None:
    samples: Samples = {"a": {"1": ["Yesterday evening? What did you do yesterday?", "I slept all evening"]}}
    outcome = select(tmp_path, {"1": "We cooked fish"}, samples)
    assert outcome.counts["a"] == {"kept": 1, "nearly echoed": 1}


@pytest.mark.parametrize(
    ("text", "remaining"),
    [
        ("I like it. Because it", "I like it."),
        ("Really?! I thought that", "Really?!"),
        ("It was… well… I", "It was… well…"),
        ('She said "no." And then', 'She said "no."'),
        ("I like it.", "I like it."),
        ("我也很喜欢。你呢？我觉得", "我也很喜欢。你呢？"),
        ("मैं ठीक हूँ। और आप", "मैं ठीक हूँ।"),
        ("هل أنت بخير؟ أنا", "هل أنت بخير؟"),
        ("Version 3.5 of example.com is", None),
        ("1. 2. And", None),
        ("I like it because", None),
        ("... and", None),
    ],
)
def test_a_truncated_sample_ends_with_its_last_complete_sentence(text: str, remaining: str | None) -> None:
    truncated, whole = Generation(text, truncated=True), Generation(text, truncated=False)
    assert shortened(truncated) == (Generation(remaining, False) if remaining else truncated)
    assert shortened(whole) == whole


def test_shortened_samples_are_counted_apart_and_filtered_as_they_are_then(tmp_path: Path) -> None:
    samples: Samples = {
        "a": {
            "1": [
                Generation("I cooked fish. Then I", True),
                Generation("I slept. And then", True),
                Generation("So I", True),
                "I sang",
            ]
        }
    }
    outcome = select(tmp_path, GOLD, samples)
    assert outcome.responses["a"]["1"] == ["I cooked fish.", "I sang"]
    # "I slept" is the context's gold response.
    assert outcome.counts["a"] == {"kept": 1, "kept shortened": 1, "duplicate": 1, "truncated": 1}
