"""Measures of conversations with a responder: how often it repeats itself or echoes the user.

Echoing is the field's word for responses that repeat their context (Fedorenko et al. 2017, arXiv 1712.05626).
"""

from collections.abc import Sequence

from teachers.texts import is_near_copy, text_key


def conversation_measures(
    user_turns: Sequence[Sequence[str]], answers: Sequence[Sequence[str | None]]
) -> dict[str, float]:
    """Return shares over all conversations, and the counts `conversations` and `turns`.

    `answers` are one for each of the user's turns, None where there was no answer. Of the answered turns:
    `verbatim_repeats` and `near_repeats` of an earlier answer of the conversation, `echoes`, near copies of
    a turn of the user so far, and `distinct_answers`, all conversations together. Of all turns: `no_answer`.
    A verbatim repeat is a near one, too. Texts are compared as by `teachers.texts`.
    """
    counts = dict.fromkeys(("verbatim_repeats", "near_repeats", "echoes"), 0)
    distinct: set[str] = set()
    num_turns = num_answers = 0

    for turns, answers_of_conversation in zip(user_turns, answers, strict=True):
        earlier: list[str] = []
        for number, answer in enumerate(answers_of_conversation):
            num_turns += 1
            if answer is None:
                continue
            counts["verbatim_repeats"] += text_key(answer) in map(text_key, earlier)
            counts["near_repeats"] += is_near_copy(answer, earlier)
            counts["echoes"] += is_near_copy(answer, turns[: number + 1])
            earlier.append(answer)
        num_answers += len(earlier)
        distinct.update(map(text_key, earlier))

    shares = {name: count / max(num_answers, 1) for name, count in counts.items()}
    return {
        **shares,
        "distinct_answers": len(distinct) / max(num_answers, 1),
        "no_answer": 1 - num_answers / max(num_turns, 1),
        "conversations": float(len(user_turns)),
        "turns": float(num_turns),
    }
