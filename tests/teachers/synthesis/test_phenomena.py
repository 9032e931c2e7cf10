"""Rules of phenomena, on turns that show them and turns that do not."""

import pytest

from teachers.synthesis.phenomena import PHENOMENA, TurnInContext, content_words

OWLS = "Barn owls hunt at night. They eat voles and other small mammals, which they find by hearing."
NESTS = "Nests are built in old barns. A pair raises about five chicks there."
EARLIER = ["What do barn owls eat?", "Barn owls eat voles."]


def turn_after(
    text: str, *, first: bool = False, passage: str = OWLS, before: list[str] | None = None
) -> TurnInContext:
    earlier = [] if first else EARLIER
    return TurnInContext(text, earlier, passage, ([OWLS] * len(earlier)) if before is None else before)


@pytest.mark.parametrize(
    ("phenomenon", "turn", "shown"),
    [
        ("co-reference", turn_after("How do they find them?"), True),
        ("co-reference", turn_after("And when does it hunt?"), True),
        ("co-reference", turn_after("How do barn owls find voles?"), False),
        ("co-reference", turn_after("How do owls know where they are?"), False),  # the turn names them itself
        ("co-reference", turn_after("How do they find them?", first=True), False),  # nothing was named
        ("ellipsis", turn_after("And at night?"), True),
        ("ellipsis", turn_after("What about voles?"), True),
        ("ellipsis", turn_after("Because of the dark."), True),
        ("ellipsis", turn_after("What do they eat?"), False),
        ("ellipsis", turn_after("Owls hunt voles."), False),
        ("ellipsis", turn_after("And at night?", first=True), False),
        ("topic_shift", turn_after("Where are their nests?", passage=NESTS), True),
        ("topic_shift", turn_after("What do barn owls eat then?", passage=NESTS), False),
        ("topic_shift", turn_after("Where are their nests?"), False),  # the passage is the same
        ("topic_return", turn_after("Back to voles: who hunts?", before=[OWLS, NESTS]), True),
        ("topic_return", turn_after("Back to chicks, then?", before=[OWLS, NESTS]), False),
        ("topic_return", turn_after("Back to voles?", before=[OWLS, OWLS]), False),
        ("vague_reference", turn_after("What was that other thing you said?"), True),
        ("vague_reference", turn_after("What do voles eat?"), False),
        ("vague_reference", turn_after("Tell me something.", first=True), False),
        ("disfluency", turn_after("Um, what do they eat?"), True),
        ("disfluency", turn_after("What what do they eat?"), True),
        ("disfluency", turn_after("So, you know, they eat voles?"), True),
        ("disfluency", turn_after("What do umbrella birds eat?"), False),
    ],
)
def test_a_rule_recognises_the_turns_that_show_its_phenomenon(
    phenomenon: str, turn: TurnInContext, shown: bool
) -> None:
    assert PHENOMENA[phenomenon](turn) is shown


def test_content_words_leave_out_words_of_grammar_and_talk() -> None:
    assert content_words("What do the Owls' chicks eat, and why?") == {"owl", "chick", "eat"}
    assert content_words("Tell me about it, please!") == set()
