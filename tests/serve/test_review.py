"""The review of the response set: its routes, and its page in a headless Chromium, on two replicas."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from serve.changes import read_changes
from teachers.texts import response_id
from tests.conftest import ADMIN_KEY
from tests.serve.browser import WIDTHS, needs_chromium, open_page

ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
FINE, FINE_GENERATED, GOOD_NIGHT = map(response_id, ("fine thanks", "Fine thanks", "good night"))
MARKUP = "<b>fine</b> <script>document.title = 'taken over'</script>"
LISTED = "#responses > .response"


def get(client: httpx.Client, path: str = "/admin/responses", **filters: Any) -> Any:
    answer = client.get(path, params=filters, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(client: httpx.Client, **filters: Any) -> set[str]:
    """Texts of unreviewed responses: those of the index, where no test has changed anything."""
    responses = get(client, **{"state": "unreviewed", **filters})["responses"]
    return {response["text"] for response in responses}


def change(client: httpx.Client, **changes: list[str]) -> httpx.Response:
    return client.post("/admin/responses", json=changes, headers=ADMIN)


@pytest.fixture
def restored(client: httpx.Client) -> Iterator[None]:
    """Every response of the index is unreviewed afterwards."""
    yield
    ids = [
        response["id"]
        for source in ("gold", "generated")
        for response in get(client, source=source)["responses"]
    ]
    change(client, restore=ids).raise_for_status()


def test_the_review_needs_the_key_and_its_page_does_not(client: httpx.Client) -> None:
    for path in ("/admin/responses", f"/admin/responses/{FINE}/similar"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401

    page = client.get("/review")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text and "https://" not in page.text


def test_responses_are_listed_with_source_teacher_state_and_flags(client: httpx.Client) -> None:
    responses = {response["text"]: response for response in get(client, state="unreviewed")["responses"]}
    assert responses["Fine thanks"] == {
        "id": FINE_GENERATED,
        "text": "Fine thanks",
        "source": "generated",
        "teacher": "gemma",
        "state": "unreviewed",
        "flags": ["repeated"],
    }
    assert (responses["good night"]["teacher"], responses["good night"]["flags"]) == (None, [])


def test_a_search_minds_neither_case_nor_punctuation(client: httpx.Client) -> None:
    assert listed(client, query="FINE, than") == {"fine thanks", "Fine thanks"}
    assert listed(client, query="nobody says") == set()
    assert len(listed(client, query="")) == 4


def test_filters_are_combined_and_counts_are_beside_the_other_filters(client: httpx.Client) -> None:
    assert listed(client, source="generated") == {"hello hello", "Fine thanks"}
    assert listed(client, teacher="gemma", query="fine") == {"Fine thanks"}
    assert listed(client, flag="repeated", source="gold") == {"fine thanks"}
    assert listed(client, flag="URL") == listed(client, teacher="nobody") == set()

    counts = get(client, state="unreviewed", source="gold")["counts"]
    # Were the source another one, the other filters would list as many.
    assert (counts["source"]["gold"], counts["source"]["generated"]) == (2, 2)
    assert (counts["teacher"], counts["state"]["unreviewed"]) == ({"gemma": 0}, 2)
    assert counts["flag"]["repeated"] == 1


def test_pages_follow_each_other(client: httpx.Client) -> None:
    texts: list[str] = []
    for offset in range(4):
        page = get(client, state="unreviewed", offset=offset, limit=1)
        assert page["total"] == 4
        texts += [response["text"] for response in page["responses"]]
    assert len(set(texts)) == 4
    assert get(client, state="unreviewed", offset=4, limit=1)["responses"] == []


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 201}, {"offset": -1}, {"state": "odd"}, {"top": 1}]
)
def test_a_wrong_filter_is_named(client: httpx.Client, wrong: dict[str, Any]) -> None:
    answer = client.get("/admin/responses", params=wrong, headers=ADMIN)
    assert answer.status_code == 422 and answer.json()["detail"].startswith(f"{next(iter(wrong))}: ")


def test_near_copies_come_before_other_similar_responses(client: httpx.Client, restored: None) -> None:
    change(client, withdraw=[FINE_GENERATED]).raise_for_status()
    first, *others = get(client, f"/admin/responses/{FINE}/similar")["responses"]
    assert (first["text"], first["near_copy"], first["state"]) == ("Fine thanks", True, "withdrawn")
    assert first["similarity"] == pytest.approx(1, abs=1e-4)  # the student reads lower case
    assert {response["text"] for response in others} >= {"hello hello", "good night"}
    assert not any(response["near_copy"] or response["id"] == FINE for response in others)

    answer = client.get("/admin/responses/nothing/similar", headers=ADMIN)
    assert (answer.status_code, answer.json()["detail"]) == (404, "unknown response 'nothing'")


def states(client: httpx.Client, served_run: Path, id: str) -> set[str]:
    """The states that enough requests find, so that each replica gets some, and that a restart would find."""
    query = {"query": "good night", "source": "gold"}
    by_replica = {get(client, **query)["responses"][0]["state"] for _ in range(20)}
    return {*by_replica, read_changes(str(served_run)).state(id)}


def answered(client: httpx.Client) -> set[str]:
    body = {"messages": [{"role": "user", "content": "hi"}], "k": 10}
    return {response["text"] for response in client.post("/respond", json=body).json()["responses"]}


def test_decisions_hold_in_every_replica_and_after_a_restart(
    client: httpx.Client, served_run: Path, restored: None
) -> None:
    assert change(client, approve=[GOOD_NIGHT]).json() == {"responses": 4, "replicas": 2}
    assert states(client, served_run, GOOD_NIGHT) == {"approved"}

    assert change(client, withdraw=[GOOD_NIGHT]).json() == {"responses": 3, "replicas": 2}
    assert states(client, served_run, GOOD_NIGHT) == {"withdrawn"}
    assert "good night" not in answered(client)

    assert change(client, restore=[GOOD_NIGHT]).json() == {"responses": 4, "replicas": 2}
    assert states(client, served_run, GOOD_NIGHT) == {"unreviewed"}
    assert "good night" in answered(client)


def test_a_response_is_no_longer_repeated_when_its_copy_is_withdrawn(
    client: httpx.Client, restored: None
) -> None:
    assert get(client, flag="repeated")["total"] == 2
    change(client, withdraw=[FINE_GENERATED]).raise_for_status()
    assert get(client, flag="repeated")["total"] == 0


def test_a_decision_about_an_unknown_response_and_two_about_one_are_refused(client: httpx.Client) -> None:
    for field in ("approve", "restore", "withdraw"):
        answer = change(client, **{field: ["nothing"]})
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"{field}: unknown response 'nothing'"

    answer = change(client, approve=[FINE], withdraw=[FINE])
    assert answer.status_code == 422
    assert f"expected one decision about '{FINE}', got withdraw and approve" in answer.json()["detail"]


@pytest.fixture(params=WIDTHS)
def page(client: httpx.Client, restored: None, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The open page, which asks for the key."""
    with open_page(f"{client.base_url}/review", request.param) as page:
        yield page


def enter_key(page: Page) -> None:
    page.get_by_label("Admin key").fill(ADMIN_KEY)
    page.get_by_role("button", name="Open").click()
    expect(page.locator(LISTED).first).to_be_visible()


@needs_chromium
def test_the_keyboard_alone_is_enough_for_a_review(page: Page, client: httpx.Client) -> None:
    expect(page.get_by_label("Admin key")).to_be_focused()
    page.keyboard.type(ADMIN_KEY)
    page.keyboard.press("Enter")
    expect(page.locator(LISTED).first).to_be_focused()

    page.keyboard.press("/")
    page.keyboard.type("FINE thanks")
    responses = page.locator(LISTED)
    expect(page.locator("#total")).to_have_text("2 responses")
    page.keyboard.press("Enter")
    expect(responses.first).to_be_focused()

    page.keyboard.press("a")
    expect(responses.first.locator(".about")).to_contain_text("approved")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("w")
    expect(responses.nth(1).locator(".about")).to_contain_text("withdrawn")
    expect(page.locator("#last")).to_contain_text("Withdrew “")
    expect(page.locator("#served")).to_contain_text("3 responses served")
    assert len(listed(client, query="fine")) == 0

    page.keyboard.press("k")
    page.keyboard.press("s")
    group = responses.first.locator(".similar")
    expect(group.get_by_role("status")).to_contain_text("of them 1 near copy")
    expect(group.locator(".response").first.locator(".about")).to_contain_text("withdrawn")
    page.keyboard.press("j")
    expect(group.locator(".response").first).to_be_focused()
    page.keyboard.press("b")
    # It is on the page twice.
    expect(responses.nth(1).locator("> .head .about")).to_contain_text("unreviewed")
    page.keyboard.press("s")
    expect(group).to_have_count(0)
    expect(responses.first).to_be_focused()

    for _ in range(3):
        page.keyboard.press("u")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    expect(page.locator("#last")).to_contain_text("is unreviewed again")
    assert listed(client, query="fine") == {"fine thanks", "Fine thanks"}


@needs_chromium
def test_filters_show_counts_and_buttons_decide_in_place(page: Page, client: httpx.Client) -> None:
    enter_key(page)
    page.get_by_label("State").select_option("unreviewed")
    expect(page.locator("#total")).to_have_text("4 responses")
    expect(page.get_by_label("Source").locator("option[value=generated]")).to_have_text("generated (2)")
    page.get_by_label("Teacher").select_option("gemma")
    expect(page.locator("#total")).to_have_text("2 responses")

    # A decided response stays in its place, while the counts leave it out.
    page.get_by_label("Search").fill("hello")
    first = page.locator(LISTED).first
    expect(first.locator(".text")).to_have_text("hello hello")
    first.get_by_role("button", name="Withdraw").click()
    expect(first.locator(".about")).to_contain_text("withdrawn")
    expect(page.locator("#total")).to_have_text("0 responses")
    first.get_by_role("button", name="Bring back").click()
    expect(first.locator(".about")).to_contain_text("unreviewed")
    first.get_by_role("button", name="Approve").click()
    expect(first.locator(".about")).to_contain_text("approved")
    page.get_by_role("button", name="Undo").click()
    expect(first.locator(".about")).to_contain_text("unreviewed")

    page.get_by_label("Search").fill("fine")
    expect(first.locator(".text")).to_have_text("Fine thanks")
    first.get_by_role("button", name="Similar").click()
    first.get_by_role("button", name="Withdraw the near copy").click()
    expect(page.locator("#last")).to_have_text("Withdrew “fine thanks”")
    assert "fine thanks" not in answered(client) and "Fine thanks" in answered(client)


@needs_chromium
def test_a_response_is_shown_as_text_and_never_as_markup(page: Page, client: httpx.Client) -> None:
    change(client, add=[MARKUP]).raise_for_status()
    try:
        enter_key(page)
        page.get_by_label("Source").select_option("added")
        page.get_by_label("State").select_option("unreviewed")
        expect(page.locator(".text")).to_have_text([MARKUP])
        page.get_by_role("button", name="Withdraw").click()
        expect(page.locator("#last")).to_contain_text("Withdrew “<b>fine</b>")
        assert page.locator("main b").count() == page.locator("main script").count() == 0
        assert page.title() == "Rejoinder: review"
    finally:
        change(client, withdraw=[response_id(MARKUP)])


@needs_chromium
def test_a_wrong_key_is_asked_for_again_and_the_right_one_ends_with_the_session(page: Page) -> None:
    page.get_by_label("Admin key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("expected a key")
    expect(page.get_by_label("Admin key")).to_be_focused()
    expect(page.locator("#filters")).to_be_hidden()

    enter_key(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    page.reload()
    expect(page.locator(LISTED).first).to_be_visible()
    assert page.evaluate("localStorage.length") == 0 and page.context.cookies() == []


@needs_chromium
def test_a_failed_change_is_shown_and_changes_nothing(page: Page, client: httpx.Client) -> None:
    enter_key(page)
    page.route("**/admin/responses", lambda route: route.fulfill(status=422, json={"detail": "too odd"}))
    page.locator(LISTED).first.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("alert")).to_have_text("That failed: too odd")
    expect(page.locator(LISTED).first.locator(".about")).not_to_contain_text("approved")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
