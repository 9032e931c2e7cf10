"""Conversations in OpenAI's chat format, and nulls in requests, as HTTP clients send them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import ValidationInfo

# A student reads a few hundred tokens; the limits only bound the cost of a request.
MAX_MESSAGES = 1000
MAX_CHARACTERS = 20_000

# Calls of tools and their results are no turns of the conversation, and of any length.
_TOOLS = ("tool", "function")

# Not ECMAScript's \S, which takes these separators for text; Python and Rust strip them.
TEXT_PATTERN = r"[^\s\u001c-\u001f\u0085]"
_TEXT = {"type": "string", "pattern": TEXT_PATTERN}
_PARTS_WITH_TEXT = {
    "type": "array",
    "contains": {"type": "object", "required": ["text"], "properties": {"text": _TEXT}},
}
# A responder answers turns: the other messages alone are refused.
_TURN = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"enum": ["user", "assistant"]},
        "content": {"anyOf": [_TEXT, _PARTS_WITH_TEXT]},
    },
}


def _number(value: Any) -> Any:
    """Refuse what pydantic would read as a number beside numbers: texts, true and false."""
    if isinstance(value, bool | str):
        raise ValueError(f"expected a number, got {value!r:.40}")
    return value


Number = BeforeValidator(_number)


class RequestBody(BaseModel):
    """A request's body. Null stands for a field's default: many clients send every field that they know."""

    @model_validator(mode="before")
    @classmethod
    def _nulls_are_defaults(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in body.items() if value is not None or name not in optional}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema, in which a field with a default may be null."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)

        for name, field in schema.get("properties", {}).items():
            if name in schema.get("required", []) or {"type": "null"} in field.get("anyOf", []):
                continue
            described = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **described}
        return reference


class Part(BaseModel):
    """A part of a message: its text is read, an image or a file is not."""

    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None


def _kind(content: Any) -> str:
    return "parts" if isinstance(content, list) else "text"


Content = Annotated[Annotated[str, Tag("text")] | Annotated[list[Part], Tag("parts")], Discriminator(_kind)]


class Message(BaseModel):
    """One message of a conversation, in OpenAI's chat format."""

    model_config = ConfigDict(extra="ignore")  # clients of chat APIs send a `name`, `tool_calls` and more

    role: Literal["user", "assistant", "system", "developer", "tool", "function"]
    content: Content | None = None
    """Without text, as in a call of a tool, the message is passed over."""

    @field_validator("content")
    @classmethod
    def _limited(cls, content: str | list[Part] | None, fields: ValidationInfo) -> str | list[Part] | None:
        if fields.data.get("role") not in _TOOLS and len(_text(content)) > MAX_CHARACTERS:
            raise ValueError(f"expected at most {MAX_CHARACTERS} characters")
        return content

    @property
    def text(self) -> str:
        """Its text without white space around it; empty for tools, and where there is none."""
        return "" if self.role in _TOOLS else _text(self.content)


Messages = Annotated[
    list[Message],
    Field(min_length=1, max_length=MAX_MESSAGES, json_schema_extra={"contains": _TURN}),
]


def with_text(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The `role` and `content` of the messages that have text, as responders and endpoints read them."""
    return [{"role": message.role, "content": message.text} for message in messages if message.text]


def _text(content: str | list[Part] | None) -> str:
    if isinstance(content, list):
        content = " ".join(part.text for part in content if part.text)
    return (content or "").strip()
