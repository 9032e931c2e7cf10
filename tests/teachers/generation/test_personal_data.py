import pytest

from teachers.generation.personal_data import has_email, has_phone, has_url


@pytest.mark.parametrize(
    "text", ["ann.b@example.org", "write to ann@mail.example.de, ok?", "(bob@example.com)"]
)
def test_e_mail_addresses_are_detected(text: str) -> None:
    assert has_email(text)
    assert not has_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/a?b=c",
        "see www.example.de",
        "it is on example.com",
        "пример.рф/страница",
        "bit.ly/3abc",
    ],
)
def test_urls_and_hosts_are_detected(text: str) -> None:
    assert has_url(text)
    assert not has_email(text)


@pytest.mark.parametrize(
    "text",
    [
        "call 555-123-4567",
        "(801) 422 4636",
        "8014224636",
        "+44 20 7946 0958",
        "+49 171 2345678 is mine",
        "06 12 34 56 78",
        "138 1234 5678",
    ],
)
def test_phone_numbers_are_detected(text: str) -> None:
    assert has_phone(text)


@pytest.mark.parametrize(
    "text",
    [
        "I was born on 1990-02-12",
        "2018 was better than 2017",
        "3.14159265",
        "it costs 1,200.50 dollars",
        "at 10:30 or 11:45",
        "wait...what?",
        "no.I mean it",
        "meet me @ 5",
        "either/or",
        "lol :/",
        "e.g. this one",
    ],
)
def test_ordinary_numbers_and_punctuation_are_no_personal_data(text: str) -> None:
    assert not has_email(text) and not has_url(text) and not has_phone(text)
