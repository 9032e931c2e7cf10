"""Keys of the environment, before any route is asked."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from serve.gate import ADMIN_KEY, KEY, Gate


def statuses(path: str, authorizations: list[str]) -> list[int]:
    """The status of a request to `path` with each Authorization header."""

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(app=Gate(PlainTextResponse("passed")))
        async with httpx.AsyncClient(transport=transport, base_url="http://responder") as client:
            return [
                (await client.post(path, headers={"Authorization": value})).status_code
                for value in authorizations
            ]

    return asyncio.run(ask())


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_key_counts_as_unset(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADMIN_KEY, blank)
    monkeypatch.setenv(KEY, blank)
    # As if each were not there: nobody may change the index, everybody may ask.
    assert statuses("/admin/reload", ["Bearer ", "Bearer", f"Bearer {blank}"]) == [403, 403, 403]
    assert statuses("/respond", ["Bearer ", "Bearer anything"]) == [200, 200]


def test_each_key_opens_its_own_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADMIN_KEY, "admin")
    monkeypatch.setenv(KEY, "user")
    assert statuses("/admin/reload", ["Bearer admin", "Bearer user", "Bearer "]) == [200, 401, 401]
    assert statuses("/respond", ["bearer user", "Bearer admin", "Basic user"]) == [200, 401, 401]
