"""Whether a value is one of its type, and the value as the type wants it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, assert_never

from flowyard.language.problems import did_you_mean
from flowyard.language.values.types import (
    DictOf,
    ListOf,
    Nullable,
    ObjectField,
    ObjectOf,
    Simple,
    Type,
    describe,
    type_of,
)

_DEEPEST_VALUE: Final = 100
_WIDEST_INT: Final = 1024


def conform(kind: Type, value: Any, path: str, problems: list[str], *, complete: bool = False) -> Any:
    """`value` as the type wants it, with int widened to float and nothing else converted.

    Each mismatch appends a sentence that begins with the path (`profile.ages[2]: expected int, got str 'a'`).
    `complete`: every field of an object must be there, as in a model's reply, unless it says `required: false`
    through a default.
    """
    match kind:
        case Simple():
            return _conform_simple(kind, value, path, problems)
        case Nullable(inner):
            return None if value is None else conform(inner, value, path, problems, complete=complete)
        case ListOf(element) if isinstance(value, (list, tuple)):
            return [conform(element, v, f"{path}[{i}]", problems, complete=complete) for i, v in enumerate(value)]
        case DictOf(inner) if isinstance(value, Mapping):
            return {
                k: conform(inner, v, f"{path}.{k}", problems, complete=complete)
                for k, v in _items(value, path, problems)
            }
        case ObjectOf(fields) if isinstance(value, Mapping):
            return _conform_object(fields, value, path, problems, complete=complete)
        case ListOf() | DictOf() | ObjectOf():
            problems.append(_mismatch(kind, value, path))
            return value
        case _:
            assert_never(kind)


def _conform_simple(kind: Simple, value: Any, path: str, problems: list[str]) -> Any:
    match kind.name, value:
        case "bool", bool():
            return value
        case "str", str():
            return _text(value, path, problems)
        case "int", int() if not isinstance(value, bool):
            return _bounded(value, path, problems)
        case "float", int() | float() if not isinstance(value, bool):
            return _finite(value, path, problems)
        case "any", _:
            return _json_only(value, path, problems)
        case _:
            problems.append(_mismatch(kind, value, path))
            return value


def _text(value: str, path: str, problems: list[str]) -> str:
    """JSON can spell half a character (`"\\ud800"`), which no file, terminal or database takes."""
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        problems.append(f"{path}: the text holds half of a surrogate pair")
    return value


def _bounded(value: int, path: str, problems: list[str]) -> int:
    if value.bit_length() > _WIDEST_INT:
        problems.append(f"{path}: the number has more than {_WIDEST_INT} bits")
    return value


def _finite(value: int | float, path: str, problems: list[str]) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        problems.append(f"{path}: {value if isinstance(value, float) else 'the number'} is no finite number")
    return number


def _json_only(value: Any, path: str, problems: list[str], depth: int = 0) -> Any:
    if depth > _DEEPEST_VALUE:
        problems.append(f"{path[:60]}…: nests deeper than {_DEEPEST_VALUE} levels")
        return None
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, path, problems)
        case int():
            return _bounded(value, path, problems)
        case float():
            return _finite(value, path, problems)
        case list() | tuple():
            return [_json_only(v, f"{path}[{i}]", problems, depth + 1) for i, v in enumerate(value)]
        case Mapping():
            return {k: _json_only(v, f"{path}.{k}", problems, depth + 1) for k, v in _items(value, path, problems)}
        case _:
            problems.append(f"{path}: {type_of(value)} can't be stored as JSON")
            return value


def _items(value: Mapping[Any, Any], path: str, problems: list[str]) -> list[tuple[str, Any]]:
    problems.extend(f"{path}: the key {k!r} is no text" for k in value if not isinstance(k, str))
    return [(k, v) for k, v in value.items() if isinstance(k, str)]


def _conform_object(
    fields: Mapping[str, ObjectField] | None,
    value: Mapping[Any, Any],
    path: str,
    problems: list[str],
    *,
    complete: bool,
) -> Any:
    if fields is None:
        return _json_only(value, path, problems)
    given = dict(_items(value, path, problems))
    for extra in (name for name in given if name not in fields):
        hint = did_you_mean(extra, fields)
        problems.append(f"{path}.{extra}: no such field" + (f" ({hint})" if hint else ""))
    whole: dict[str, Any] = {}
    for name, f in fields.items():
        if name in given:
            whole[name] = conform(f.type, given[name], f"{path}.{name}", problems, complete=complete)
        elif f.has_default:
            whole[name] = f.default
        elif isinstance(f.type, Nullable):
            whole[name] = None
        elif f.required or complete:
            problems.append(f"{path}.{name}: missing")
    return whole


def _mismatch(kind: Type, value: Any, path: str) -> str:
    shown = repr(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    given = f"{type_of(value)} {shown}".rstrip()
    return f"{path}: expected {describe(kind)}, got {given}"
