"""Dotted keys of a config and the text of their values, as the command line and a sweep's trials have them.

A key's type says how its text is read: a string is taken as it is, whatever YAML would make of it.
"""

import ast
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

# Python's is what W&B's agent passes.
_NULLS = ("null", "None")
Content = dict[str, Any]


class UnknownKeyError(Exception):
    """A dotted key that is no key of the config."""


def option_pairs(arguments: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of `--KEY VALUE` and `--KEY=VALUE`.

    Raises:
        ValueError: an argument is neither.
    """
    remaining = iter(arguments)
    for word in remaining:
        key, has_value, text = word.partition("=")
        if not word.startswith("--") or key == "--":
            raise ValueError(f"{word}: unknown key; expected --KEY VALUE")

        if not has_value:
            value = next(remaining, None)
            if value is None or value.startswith("--"):
                form = "--teachers.NAME.KEY" if key.startswith("--teachers.") else "--KEY"
                raise ValueError(f"{key}: expected {form} VALUE, or {form}=VALUE")
            text = value
        yield key.removeprefix("--"), text


def resolve(kind: type[BaseModel], key: str) -> tuple[list[str], Any]:
    """Return the path of a dotted key in the content of `kind`, and the type of its value.

    A name of the user's choice, such as a teacher's, may have dots: it ends before a key of what it names.

    Raises:
        UnknownKeyError: there is no such key.
    """
    return _resolve(kind, key)


def _resolve(annotation: Any, key: str) -> tuple[list[str], Any]:
    if not key:
        return [], annotation

    types = list(_members(annotation))
    models = [member for member in types if isinstance(member, type) and issubclass(member, BaseModel)]
    if models:
        name, _, rest = key.partition(".")
        fields = [model.model_fields[name].annotation for model in models if name in model.model_fields]
        if not fields:
            raise UnknownKeyError
        path, value_type = _resolve(Union[tuple(fields)], rest)  # noqa: UP007 (of a computed tuple)
        return [name, *path], value_type

    if Any in types:
        return key.split("."), Any

    for member in types:
        if get_origin(member) is dict:
            value_type = get_args(member)[1]
            name, rest = _split_name(value_type, key)
            path, value_type = _resolve(value_type, rest)
            return [name, *path], value_type
    raise UnknownKeyError


def _split_name(value_type: Any, key: str) -> tuple[str, str]:
    """Return the name that a key of a mapping begins with, and the rest."""
    types = list(_members(value_type))
    keys: set[str] = set()
    for member in types:
        if isinstance(member, type) and issubclass(member, BaseModel):
            keys |= member.model_fields.keys()

    parts = key.split(".")
    if keys:
        for end in range(1, len(parts)):
            if parts[end] in keys:
                return ".".join(parts[:end]), ".".join(parts[end:])

    if keys or Any in types or any(get_origin(member) is dict for member in types):
        return parts[0], ".".join(parts[1:])
    return key, ""


def read_value(value_type: Any, text: str) -> Any:
    """Return the value that a text stands for; a text that cannot be read stays one, and is refused later."""
    types = list(_members(value_type))
    if text in _NULLS and (NoneType in types or Any in types):
        return None
    if str in types:
        return text

    origins = {get_origin(member) or member for member in types}
    has_strings = any(get_args(member)[-1:] == (str,) for member in types)
    if list in origins and not text.startswith("["):
        # A prompt or a path may have a comma.
        return [text] if has_strings else text.split(",")

    has_keys = any(isinstance(member, type) and issubclass(member, BaseModel) for member in types)
    if has_keys or origins & {list, dict, tuple, Any}:
        return _literal(text, has_strings)
    return text


def _literal(text: str, has_strings: bool) -> Any:
    """Return what a text is in Python, as W&B's agent writes it, or else in YAML, of which JSON is a part.

    Where it `has_strings` alone, such as languages, `no` is one and not a truth value.
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        pass
    try:
        return yaml.load(text, yaml.BaseLoader if has_strings else yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def set_at(content: Content, path: list[str], value: Any, replaces: bool = False) -> None:
    """Set the value at a path; a mapping is merged into one that is there, unless it `replaces` that.

    Raises:
        UnknownKeyError: a part of the path is no mapping.
    """
    *sections, last = path
    section = content
    for part in sections:
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            raise UnknownKeyError

    if isinstance(value, dict) and isinstance(section.get(last), dict) and not replaces:
        section[last] = _merged(section[last], value)
    else:
        section[last] = value


def _merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> Content:
    merged = dict(content)
    for key, value in changes.items():
        is_mapping = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if is_mapping else value
    return merged


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the types that a value may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation
