from pathlib import Path

import pytest

from teachers.engines.protocol import Generation
from teachers.generation.config import FiltersConfig
from teachers.generation.filters import filters

CONTEXT = [{"role": "user", "content": "Do you like music?"}, {"role": "assistant", "content": "Hello!"}]


def reason(text: str, config: FiltersConfig | None = None, truncated: bool = False) -> str | None:
    """The reason of the first filter that drops the text; None where all keep it."""
    chosen = filters(config or FiltersConfig())
    return next((name for name, drops in chosen if drops(Generation(text, truncated), CONTEXT)), None)


def blocking(folder: Path, content: str) -> FiltersConfig:
    (folder / "blocklist.txt").write_text(content)
    return FiltersConfig(blocklist=str(folder / "blocklist.txt"))


@pytest.mark.parametrize(
    ("text", "dropped_as"),
    [
        (" \n", "empty"),
        ("... :)", "empty"),
        ("do you like MUSIC", "echoed"),
        ("yes yes yes yes yes yes yes yes no", "repetitive"),
        ("Sure. A: what about you?", "role-confused"),
        ("Human: hi there", "role-confused"),
        ("<|im_start|>user hello there", "role-confused"),
        ("I do</s>", "role-confused"),
        ("### Human: hi there", "role-confused"),
        ("I do<end_of_turn>", "role-confused"),
        ("<|turn>user hello", "role-confused"),
        ("I do [/INST]", "role-confused"),
    ],
)
def test_a_dropped_sample_has_its_reason(text: str, dropped_as: str) -> None:
    assert reason(text) == dropped_as


def test_a_truncated_sample_is_dropped() -> None:
    assert reason("I like it because", truncated=True) == "truncated"


@pytest.mark.parametrize(
    "text",
    [
        "I do, a lot! You?",
        "ha ha ha",
        "that was such a :)",
        "my plan b: sleep",
        "no no no, I mean the other one, not the first",
        "8:49 i'm 3 hours ahead of u",
        "i'd say <3",
        "a <b> c",
        "it's <i>so</i> good",
        "a List<int> or a List<str>",
        "user : hi",
        "I asked a user: why?",
        "let's go with plan A: sleep",
        "\U0001f44d",
        "\U0001f1e9\U0001f1ea",
    ],
)
def test_ordinary_chat_is_kept(text: str) -> None:
    assert reason(text, FiltersConfig(languages=["en"])) is None


def test_the_word_limits_are_inclusive() -> None:
    config = FiltersConfig(min_words=2, max_words=4)
    texts = ["one", "one two", "one two three four", "one two three four five"]
    assert [reason(text, config) for text in texts] == ["too short", None, None, "too long"]


@pytest.mark.parametrize(
    "text",
    [
        "Keine Ahnung, ich bin gerade erst aufgestanden",
        "Estoy bien, gracias, ¿y tú?",
        "я тоже очень люблю музыку",
        "我也很喜欢音乐，你呢？",
    ],
)
def test_only_the_configured_languages_are_kept(text: str) -> None:
    assert reason(text) is None
    assert reason(text, FiltersConfig(languages=["en", "fr"])) == "wrong language"
    assert reason(text, FiltersConfig(languages=["en", "de", "es", "ru", "zh"])) is None


@pytest.mark.parametrize(
    "text", ["Genau!", "muchas gracias", "lol ok", "hahahahaha", "12345 67890 12345 67890"]
)
def test_a_text_too_short_for_language_detection_is_kept(text: str) -> None:
    assert reason(text, FiltersConfig(languages=["en"])) is None


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^filters\.languages: unknown language 'english'"):
        filters(FiltersConfig(languages=["en", "english"]))


@pytest.mark.parametrize("text", ["what a darn shame", "DARN!", "so... darn", "Shut\n up, you", "you a$$"])
def test_a_blocklisted_word_or_phrase_is_dropped_in_any_case(tmp_path: Path, text: str) -> None:
    assert reason(text, blocking(tmp_path, "darn\nshut  up\na$$\n")) == "blocklisted"


@pytest.mark.parametrize("text", ["socks need darning", "undarned", "shut it up", "what a class", "# mild"])
def test_the_blocklist_matches_whole_words_only(tmp_path: Path, text: str) -> None:
    assert reason(text, blocking(tmp_path, "# mild\n\ndarn\nshut up\na$$\n")) is None


def test_a_blocklist_of_comments_blocks_nothing(tmp_path: Path) -> None:
    assert reason("I do, a lot!", blocking(tmp_path, "# none yet\n\n")) is None


def test_a_blocklist_may_be_a_uri(tmp_path: Path) -> None:
    path = blocking(tmp_path, "darn").blocklist
    assert reason("darn it all", FiltersConfig(blocklist=f"file://{path}")) == "blocklisted"


def test_an_unreadable_blocklist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin-1.txt").write_bytes("früh".encode("latin-1"))
    with pytest.raises(ValueError, match=r"^filters\.blocklist: no file '.*absent\.txt'$"):
        filters(FiltersConfig(blocklist=str(tmp_path / "absent.txt")))
    with pytest.raises(ValueError, match=r"^filters\.blocklist: no file '.*'$"):
        filters(FiltersConfig(blocklist=str(tmp_path)))
    with pytest.raises(ValueError, match=r"^filters\.blocklist: expected UTF-8, .* in '.*latin-1\.txt'$"):
        filters(FiltersConfig(blocklist=str(tmp_path / "latin-1.txt")))
