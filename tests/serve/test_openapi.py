"""Every answer is one that the OpenAPI document declares: by a table, and by requests made from it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.testclient import TestClient

from serve.app import app
from serve.gate import ADMIN_KEY, KEY, MAX_BODY_BYTES
from teachers.texts import response_id
from tests.conftest import ADMIN_KEY as SECRET
from tests.serve.conftest import make_run
from tests.serve.in_process import only_replica

ADMIN = {"Authorization": f"Bearer {SECRET}"}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
ERRORS = {
    ("get", "/health"): {413, 503},
    ("get", "/ready"): {413, 503},
    ("get", "/v1/models"): {401, 413, 503},
    ("post", "/respond"): {400, 401, 413, 422, 503},
    ("post", "/search"): {400, 401, 413, 422, 503},
    ("post", "/score"): {400, 401, 413, 422, 503},
    ("post", "/generate"): {400, 401, 404, 413, 422, 502, 503},
    ("post", "/v1/chat/completions"): {400, 401, 404, 413, 422, 503},
    ("get", "/admin/versions"): {401, 403, 413, 503},
    ("post", "/admin/reload"): {400, 401, 403, 409, 413, 422, 503},
    ("get", "/admin/responses"): {401, 403, 413, 422, 503},
    ("post", "/admin/responses"): {400, 401, 403, 404, 413, 422, 503},
    ("get", "/admin/responses/{response_id}/similar"): {401, 403, 404, 413, 503},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    run = make_run(tmp_path_factory.mktemp("declared") / "chat", "dense")
    with only_replica(run):
        yield run


@pytest.fixture(scope="module")
def client(run: Path) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def test_every_route_declares_its_errors_and_their_shape() -> None:
    document = app.openapi()
    declared = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            declared[method, path] = set(map(int, errors))

            name = "ChatErrorAnswer" if path.startswith("/v1/") else "ErrorAnswer"
            for status, answer in errors.items():
                if status != "503":  # Ray Serve's own, in plain text
                    [(kind, content)] = answer["content"].items()
                    assert (kind, content["schema"]["$ref"]) == (
                        "application/json",
                        f"#/components/schemas/{name}",
                    )
            assert operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert declared == ERRORS


def test_a_method_that_a_path_lacks_is_told_those_that_it_has(client: TestClient) -> None:
    methods = {"/respond": "POST", "/health": "GET", "/v1/models": "GET", "/admin/responses": "GET, POST"}
    for path, allowed in methods.items():
        answer = client.request("DELETE", path, headers=ADMIN)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_the_gates_answers_have_the_shape_of_their_route(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = b" " * (MAX_BODY_BYTES + 1)
    for path in ("/respond", "/v1/chat/completions"):
        chat = path.startswith("/v1/")
        assert ("error" in client.post(path, content=huge).json()) == chat
        monkeypatch.setenv(KEY, "sécret")
        refused = client.post(path, json=HELLO)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert ("error" in refused.json()) == chat

        bearer = {"Authorization": "Bearer sécret".encode()}
        assert client.post("/respond", json=HELLO, headers=bearer).status_code == 200
        monkeypatch.delenv(KEY)

    monkeypatch.setenv(ADMIN_KEY, "")
    refused = client.get("/admin/versions", headers=ADMIN)
    assert refused.status_code == 403 and "is not set" in refused.json()["detail"]


@pytest.mark.parametrize(
    "num_cases", [200, pytest.param(10_000, marks=[pytest.mark.faults, pytest.mark.slow])]
)
@pytest.mark.timeout(3600)
def test_no_request_gets_an_undeclared_answer_or_a_servers_error(run: Path, num_cases: int) -> None:
    """Requests that follow the document, and others that break it; each answer is checked against it."""
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    rejection = document.config.checks.negative_data_rejection
    rejection.expected_statuses = [
        *rejection.expected_statuses,
        "413",
    ]  # a huge body is not read for its faults

    strategies = []
    for result in document.get_all_operations():
        operation = result.ok()
        following = operation.as_strategy(GenerationMode.POSITIVE)
        strategies += [following, following.map(with_existing_names)]
        if operation.body or operation.query:
            strategies.append(operation.as_strategy(GenerationMode.NEGATIVE))

    @settings(
        max_examples=num_cases,
        deadline=None,
        database=None,
        derandomize=num_cases < 10_000,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(strategies))
    def is_declared(case: Case) -> None:
        shutil.rmtree(run / "changes", ignore_errors=True)  # each reload reads all of them
        case.call_and_validate(headers=ADMIN, excluded_checks=inapplicable_checks(case))

    is_declared()


def inapplicable_checks(case: Case) -> list[CheckFunction]:
    """The checks that an answer to this request need not pass."""
    checks: list[CheckFunction] = []
    # Two decisions about one response are refused, which a schema cannot say.
    if case.operation.label == "POST /admin/responses":
        checks.append(positive_data_acceptance)

    # Every request is sent with the right key: a case that breaks its header alone breaks nothing.
    header = case.meta.components.get(ParameterLocation.HEADER) if case.meta else None
    if header is not None and header.mode.is_negative:
        checks.append(negative_data_rejection)
    return checks


def with_existing_names(case: Case) -> Case:
    """The request with the names of the model and of a response that there are."""
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = "chat"
    if "response_id" in case.path_parameters:
        case.path_parameters["response_id"] = response_id("good night")
    return case
