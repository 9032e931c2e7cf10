"""The OpenAPI document: FastAPI's, with every error that is sent and the keys that routes ask for."""

from typing import Any

from fastapi import FastAPI

from serve.chat_completions import ChatErrorAnswer
from serve.gate import ADMIN_KEY, ADMIN_ROUTES, CHAT_ROUTES, KEY, MAX_BODY_BYTES, WITHOUT_KEY
from serve.schemas import ErrorAnswer

_SCHEMAS = "#/components/schemas/"
# FastAPI's own answer to a wrong request, which `serve.gate` replaces.
_UNSENT = ("HTTPValidationError", "ValidationError")

_NOT_JSON = "The body is not JSON."
_WRONG_FIELD = "A field is missing or wrong; the line names the first one."
_WITHOUT_KEY = {
    "description": "The key is missing or wrong.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
}
_NO_ADMIN_KEY = f"{ADMIN_KEY} is not set: the index cannot be changed."
_TOO_LARGE = f"The body is larger than {MAX_BODY_BYTES} bytes."
# Of Ray Serve, which counts the requests before they reach a route.
_OVERLOADED = {
    "description": "Too many requests wait.",
    "headers": {"Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}}},
    "content": {"text/plain": {"schema": {"type": "string"}}},
}

_KEYS = {
    "key": {"type": "http", "scheme": "bearer", "description": f"{KEY}, where the deployment has one."},
    "admin_key": {"type": "http", "scheme": "bearer", "description": f"{ADMIN_KEY}."},
}


class DocumentedApp(FastAPI):
    """A FastAPI application whose document declares what `serve.gate` and Ray Serve answer."""

    def openapi(self) -> dict[str, Any]:
        """The document, built once."""
        if self.openapi_schema is None:
            document = super().openapi()
            components = document["components"]
            _replace_schemas(components["schemas"])
            components["securitySchemes"] = _KEYS

            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _declare_errors(path, operation)
                    _declare_key(path, operation)
            self.openapi_schema = document
        return self.openapi_schema


def _replace_schemas(schemas: dict[str, Any]) -> None:
    for name in _UNSENT:
        schemas.pop(name, None)
    for model in (ErrorAnswer, ChatErrorAnswer):
        schema = model.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema


def _declare_errors(path: str, operation: dict[str, Any]) -> None:
    """Add the statuses of every such route to those that the route itself declares, and the shape of all."""
    responses = operation["responses"]
    responses.pop("422", None)

    if "requestBody" in operation:
        responses["400"] = {"description": _NOT_JSON}
    if "requestBody" in operation or _has_query(operation):
        responses["422"] = {"description": _WRONG_FIELD}
    if path not in WITHOUT_KEY:
        responses["401"] = dict(_WITHOUT_KEY)
    if path.startswith(ADMIN_ROUTES):
        responses["403"] = {"description": _NO_ADMIN_KEY}
    responses["413"] = {"description": _TOO_LARGE}
    responses["503"] = _OVERLOADED

    model = ChatErrorAnswer if path.startswith(CHAT_ROUTES) else ErrorAnswer
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{model.__name__}"}}}
    for status, response in responses.items():
        if int(status) >= 400:
            response.setdefault("content", content)
    operation["responses"] = dict(sorted(responses.items()))


def _declare_key(path: str, operation: dict[str, Any]) -> None:
    if path.startswith(ADMIN_ROUTES):
        operation["security"] = [{"admin_key": []}]
    elif path not in WITHOUT_KEY:
        operation["security"] = [{}, {"key": []}]


def _has_query(operation: dict[str, Any]) -> bool:
    return any(parameter["in"] == "query" for parameter in operation.get("parameters", []))
