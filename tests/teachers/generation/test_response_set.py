from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from teachers.dataset import read_rows, write_rows
from teachers.generation.config import ResponseFiltersConfig, ResponseSetConfig
from teachers.generation.response_set import ResponseSources, write_response_set
from teachers.records import EXAMPLES, HUMAN_RESPONSES, RESPONSES
from teachers.texts import response_id

# Twelve words are ten shingles; the first eleven of them nine of those: Jaccard 9/10.
LONG = "I went to the cinema with my sister and my oldest friend"
SHORTER = LONG.rsplit(" ", 1)[0]
HELD_OUT = "We watched the whole match twice"


@dataclass
class Outcome:
    counts: dict[str, Counter[str]]
    rows: list[dict[str, Any]]
    rejected: list[tuple[str, str, str]]

    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]


def curate(
    folder: Path,
    human: list[str],
    generated: dict[str, list[str]] | None = None,
    filters: ResponseFiltersConfig | None = None,
    **settings: Any,
) -> Outcome:
    """Write the response set of `human` responses and those `generated` by teacher."""
    config = ResponseSetConfig(**settings)
    held_out = {"example_id": "t", "conversation_id": "t", "split": "test", "context": []}
    write_rows(str(folder / "examples"), [{**held_out, "gold_response": HELD_OUT}], EXAMPLES)
    human_rows = [{"example_id": f"h{number}", "response": text} for number, text in enumerate(human)]
    write_rows(str(folder / "human"), human_rows, HUMAN_RESPONSES)
    uris = {}
    for teacher, texts in (generated or {}).items():
        uris[teacher] = str(folder / teacher)
        write_rows(uris[teacher], [{"example_id": "g", "responses": texts}], RESPONSES)

    sources = ResponseSources(str(folder / "examples"), str(folder / "human"), uris, config.max_human)
    outputs = str(folder / "set"), str(folder / "rejected")
    counts = write_response_set(sources, *outputs, config, filters or ResponseFiltersConfig())
    rejected = [(row["origin"], row["row"], row["reason"]) for row in read_rows(outputs[1])]
    return Outcome(counts, read_rows(outputs[0]), rejected)


def test_a_row_says_who_wrote_it_and_rows_are_sorted_by_text(tmp_path: Path) -> None:
    outcome = curate(tmp_path, ["never mind", "good night"], {"a": ["I do"], "b": ["Hello there"]})
    assert [(row["text"], row["source"], row["teacher"]) for row in outcome.rows] == [
        ("Hello there", "generated", "b"),
        ("I do", "generated", "a"),
        ("good night", "gold", None),
        ("never mind", "gold", None),
    ]
    assert [row["response_id"] for row in outcome.rows] == [response_id(text) for text in outcome.texts()]
    assert outcome.counts == {"human": {"kept": 2}, "a": {"kept": 1}, "b": {"kept": 1}}


def test_a_human_response_goes_before_an_equal_or_nearly_equal_generated_one(tmp_path: Path) -> None:
    outcome = curate(tmp_path, ["No", "no.", LONG], {"a": ["NO!", SHORTER, "Oh well"], "b": ["oh, well"]})
    assert outcome.texts() == [LONG, "No", "Oh well"]
    assert outcome.rejected == [
        ("human h1", "no.", "duplicate"),
        ("a g", "NO!", "duplicate"),
        ("a g", SHORTER, "near-duplicate"),
        ("b g", "oh, well", "duplicate"),
    ]


def test_every_drop_is_counted_by_origin_and_reason(tmp_path: Path) -> None:
    (tmp_path / "blocklist.txt").write_text("fool\n")
    filters = ResponseFiltersConfig(
        blocklist=str(tmp_path / "blocklist.txt"), languages=["en"], min_words=2, max_words=14
    )
    human = {
        "That sounds like a good idea": None,
        "...": "empty",
        "ink ink ink ink ink ink ink ink": "repetitive",
        "User: what now?": "role-confused",
        "<|im_end|> hello there": "role-confused",
        "Nope": "too short",
        "a b c d e f g h i j k l m n o": "too long",
        "Keine Ahnung, ich bin gerade erst aufgestanden": "wrong language",
        "you fool you": "blocklisted",
        "mine is ann@example.org": "e-mail address",
        "look at https://example.org": "URL",
        "ring 555-123-4567": "phone number",
        HELD_OUT.upper(): "held-out response",
    }
    outcome = curate(tmp_path, list(human), {}, filters)
    reasons = {row: reason for _, row, reason in outcome.rejected}
    assert reasons == {text: reason for text, reason in human.items() if reason}
    counted = Counter(reason or "kept" for reason in human.values())
    assert outcome.counts == {"human": counted}


def test_keyboard_spam_is_judged_by_the_words_of_the_other_responses(
    tmp_path: Path, english: list[str]
) -> None:
    spam = "heelo? hlep me please ]asdff[ohiasdhf kahsdfhasdhf"
    outcome = curate(tmp_path, [*english[:600], "lol hahaha"], {"a": [spam, "hmmm"]})
    assert outcome.counts["a"] == {"kept": 1, "keyboard spam": 1}
    assert "lol hahaha" in outcome.texts()


def test_the_first_human_responses_are_taken_up_to_the_number(tmp_path: Path) -> None:
    human = ["one of them", "two of them", "three of them"]
    outcome = curate(tmp_path, human, {"a": ["four of them"]}, max_human=2)
    assert outcome.texts() == ["four of them", "one of them", "two of them"]
    assert curate(tmp_path, human, {"a": ["four of them"]}, max_human=0).texts() == ["four of them"]


def test_personal_data_of_kinds_that_are_not_named_are_kept(tmp_path: Path) -> None:
    human = ["look at https://example.org", "ring 555-123-4567"]
    assert curate(tmp_path, human, personal_data=["phone"]).texts() == human[:1]


def test_a_set_without_responses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"response_set: expected a response that passes the filters"):
        curate(tmp_path, ["..."])
