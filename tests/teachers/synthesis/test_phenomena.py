"""Each phenomenon where it is, and where it is not."""

import pytest

from teachers.synthesis.phenomena import PHENOMENA, Said, content_words

OWLS = "Barn owls hunt at night. They eat voles and other small mammals, which they find by hearing."
NESTS = "Nests are built in old barns. A pair raises about five chicks there."
EARLIER = ["What do barn owls eat?", "Barn owls eat voles."]


def said(text: str, *, first: bool = False, passage: str = OWLS, before: list[str] | None = None) -> Said:
    earlier = [] if first else EARLIER
    return Said(text, earlier, passage, ([OWLS] * len(earlier)) if before is None else before)


@pytest.mark.parametrize(
    ("phenomenon", "turn", "shown"),
    [
        ("co-reference", said("How do they find them?"), True),
        ("co-reference", said("And when does it hunt?"), True),
        ("co-reference", said("How do barn owls find voles?"), False),
        ("co-reference", said("How do owls know where they are?"), False),  # the turn names them itself
        ("co-reference", said("How do they find them?", first=True), False),  # nothing was named
        ("ellipsis", said("And at night?"), True),
        ("ellipsis", said("What about voles?"), True),
        ("ellipsis", said("Because of the dark."), True),
        ("ellipsis", said("What do they eat?"), False),
        ("ellipsis", said("Owls hunt voles."), False),
        ("ellipsis", said("And at night?", first=True), False),
        ("topic_shift", said("Where are their nests?", passage=NESTS), True),
        ("topic_shift", said("What do barn owls eat then?", passage=NESTS), False),
        ("topic_shift", said("Where are their nests?"), False),  # the passage is the same
        ("topic_return", said("Back to voles: who hunts?", before=[OWLS, NESTS]), True),
        ("topic_return", said("Back to chicks, then?", before=[OWLS, NESTS]), False),
        ("topic_return", said("Back to voles?", before=[OWLS, OWLS]), False),
        ("vague_reference", said("What was that other thing you said?"), True),
        ("vague_reference", said("What do voles eat?"), False),
        ("vague_reference", said("Tell me something.", first=True), False),
        ("disfluency", said("Um, what do they eat?"), True),
        ("disfluency", said("What what do they eat?"), True),
        ("disfluency", said("So, you know, they eat voles?"), True),
        ("disfluency", said("What do umbrella birds eat?"), False),
    ],
)
def test_a_phenomenon_is_seen_where_it_is(phenomenon: str, turn: Said, shown: bool) -> None:
    assert PHENOMENA[phenomenon](turn) is shown


def test_content_words_are_what_a_text_is_about() -> None:
    assert content_words("What do the Owls' chicks eat, and why?") == {"owl", "chick", "eat"}
    assert content_words("Tell me about it, please!") == set()
