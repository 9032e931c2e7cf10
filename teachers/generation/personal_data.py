"""Personal data in texts: e-mail addresses, URLs and phone numbers.

Names are not detected: that needs a model of named entities for each language.
"""

import re
from collections.abc import Callable
from functools import cache

from linkify_it import LinkifyIt
from phonenumbers import Leniency, PhoneNumberMatcher

from teachers.generation.config import PersonalData

# Linkify takes 0.3 ms for a text; without one of these there is no link in it.
_MAY_BE_LINK = re.compile(r"[@/]|\.\w")
_DIGITS = re.compile(r"(?:\d\W*){7}")
# Numbers without a country code are read by this one's lengths, seven or ten digits, which many others share.
_REGION = "US"


def has_email(text: str) -> bool:
    """Whether a text has an e-mail address."""
    return any(schema == "mailto:" for schema in _schemas(text))


def has_url(text: str) -> bool:
    """Whether a text has a URL or a name of a host, such as `example.com`."""
    return any(schema != "mailto:" for schema in _schemas(text))


def has_phone(text: str) -> bool:
    """Whether a text has digits that may be a phone number; dates and years are none."""
    if not _DIGITS.search(text):
        return False
    return PhoneNumberMatcher(text, _REGION, leniency=Leniency.POSSIBLE).has_next()


def _schemas(text: str) -> list[str]:
    if not _MAY_BE_LINK.search(text):
        return []
    return [match.schema for match in _linkify().match(text) or []]


@cache
def _linkify() -> LinkifyIt:
    return LinkifyIt()


DETECTORS: dict[PersonalData, tuple[str, Callable[[str], bool]]] = {
    "email": ("e-mail address", has_email),
    "url": ("URL", has_url),
    "phone": ("phone number", has_phone),
}
"""Kind -> (reason of a drop, detector)."""
