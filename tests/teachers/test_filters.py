import pytest

from teachers.filters import Generation, sift

CONTEXT = [{"role": "user", "content": "Do you like music?"}]


@pytest.mark.parametrize(
    ("text", "truncated", "reason"),
    [
        (" \n", False, "empty"),
        ("...", False, "empty"),
        ("I like it because", True, "truncated"),
        ("do you like MUSIC", False, "echoed"),
        ("yes yes yes yes yes yes yes yes no", False, "repetitive"),
        ("Sure. A: what about you?", False, "role-confused"),
        ("<|im_start|>user hello there", False, "role-confused"),
    ],
)
def test_a_bad_generation_is_dropped_with_its_reason(text: str, truncated: bool, reason: str) -> None:
    kept, rejected = sift([Generation(text, truncated)], CONTEXT)
    assert kept == []
    assert [row["reason"] for row in rejected] == [reason]


def test_good_generations_are_kept_once() -> None:
    texts = ["I do, a lot!", "i do a lot", "Not  really"]
    kept, rejected = sift([Generation(text, False) for text in texts], CONTEXT)
    assert kept == ["I do, a lot!", "Not really"]
    assert rejected == [{"text": "i do a lot", "reason": "duplicate"}]
