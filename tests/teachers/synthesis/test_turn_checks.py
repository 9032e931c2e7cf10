"""Every check of a turn, where it lets one pass and where it does not."""

from typing import Any

import pytest

from teachers.engines.protocol import Generation
from teachers.generation.config import FiltersConfig
from teachers.synthesis.config import ChecksConfig
from teachers.synthesis.conversation_graph import Vertex
from teachers.synthesis.phenomena import TurnInContext
from teachers.synthesis.turn_checks import Draft, failure, turn_checks

EVIDENCE = "Barn owls hunt at night. They eat voles and other small mammals."
PASSAGE = f"{EVIDENCE} Nests are built in barns."
QUESTION = "What do barn owls eat, and when?"
ANSWER = "Barn owls eat voles and small mammals."


def draft(text: str, **changes: Any) -> Draft:
    phenomenon = changes.get("phenomenon")
    return Draft(
        Generation(text, changes.get("truncated", False), changes.get("error")),
        TurnInContext(text, changes.get("earlier", [QUESTION]), PASSAGE, [PASSAGE]),
        EVIDENCE,
        [{"role": "user", "content": QUESTION}],
        Vertex.model_validate(
            {
                "speaker": changes.get("speaker", "assistant"),
                "prompt": "{evidence}",
                "grounded": changes.get("grounded", True),
                "next": {"end": 1},
            }
        ),
        phenomenon,
        "Write the assistant's answer to the last message, in one short sentence.",
    )


FILTERS = FiltersConfig(min_words=3, max_words=12, languages=["en"])
CHECKS = turn_checks(FILTERS, ChecksConfig(), lambda passage, text: 0.2 if "never" in text else 0.9)


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (draft(ANSWER), None),
        (draft("", error="too long"), "the teacher failed"),
        (draft("?!"), "empty"),
        (draft(ANSWER, truncated=True), "truncated"),
        (draft("Voles eat. User: And then?"), "role-confused"),
        (draft("owls eat owls eat owls eat owls eat owls"), "repetitive"),
        (draft("Voles, mostly."), "too short"),
        (draft("Barn owls eat voles and small mammals at night, and barn owls hunt at night."), "too long"),
        (draft("Die Schleiereulen fressen meistens Mäuse und kleine Säugetiere."), "wrong language"),
        (draft("Sure: the answer to the last message, in one line."), "leaks the prompt"),
        (draft("What do barn owls eat and when"), "echoed"),
        (draft("And what do barn owls eat, when?"), "copies an earlier turn"),
        (draft("Penguins swim across the Atlantic Ocean."), "not grounded"),
        (draft("Owls build nests in barns."), "not grounded"),  # in the passage, and not what this is about
        (
            draft("Yes, that is what barn owls eat."),
            "not grounded",
        ),  # says nothing that the question does not
        (draft("Why do they do that?", speaker="user", earlier=[ANSWER]), "not grounded"),
        (draft("Why do they do that?", speaker="user", earlier=[ANSWER], phenomenon="co-reference"), None),
        (draft("Do barn owls build nests?", speaker="user", earlier=[ANSWER]), "not grounded"),
        (draft("Which mammals never hunt at night?", speaker="user", earlier=[ANSWER]), None),
        (draft("Penguins swim across the Atlantic Ocean.", grounded=False), None),
        (draft("Barn owls never eat voles."), "not entailed"),
        (draft("Barn owls never eat voles.", grounded=False), None),
        (draft("Barn owls eat voles.", phenomenon="co-reference"), "phenomenon missing"),
        (draft("They eat voles and small mammals.", phenomenon="co-reference"), None),
    ],
)
def test_a_failing_turn_has_the_first_reason(turn: Draft, reason: str | None) -> None:
    assert failure(turn, CHECKS) == reason


def test_entailment_is_unchecked_without_a_model() -> None:
    assert failure(draft("Barn owls never eat voles."), turn_checks(FILTERS, ChecksConfig())) is None
