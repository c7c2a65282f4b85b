"""Checks whether a value has a type, and converts it where the type allows that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, assert_never

from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.values.limits import limit_fault, read_date, read_datetime
from flowyard.language.values.types import (
    DATE,
    Choice,
    DictOf,
    Limited,
    ListOf,
    Nullable,
    ObjectOf,
    Simple,
    Type,
    describe,
    type_of,
)

_MAX_DEPTH: Final = 100
_MAX_INT_BITS: Final = 1024
_MAX_SHOWN: Final = 60
_MAX_HINTS: Final = 20
"""Hints in the problems of one value: searching for similar words takes time."""


def conform(kind: Type, value: Any, path: str, problems: list[str], *, complete: bool = False) -> Any:
    """The value with each int converted to float where the type is float; nothing else is converted.

    Appends a message to `problems` for each mismatch, which begins with the path (`profile.ages[2]: expected int, got
    str 'a'`). `complete`: an object must have all fields without a default, as in a model's reply.
    """
    match kind:
        case Simple():
            return _conform_simple(kind, value, path, problems)
        case Choice(values):
            return _conform_choice(kind, values, value, path, problems)
        case Limited(inner):
            before = len(problems)
            converted = conform(inner, value, path, problems, complete=complete)
            fault = limit_fault(kind, converted) if len(problems) == before else None
            problems.extend([f"{path}: {fault}"] if fault else [])
            return converted
        case Nullable(inner):
            return None if value is None else conform(inner, value, path, problems, complete=complete)
        case ListOf(element) if isinstance(value, (list, tuple)):
            return [conform(element, v, f"{path}[{i}]", problems, complete=complete) for i, v in enumerate(value)]
        case DictOf(inner) if isinstance(value, Mapping):
            items = _items(value, path, problems)
            return {k: conform(inner, v, f"{path}.{k}", problems, complete=complete) for k, v in items}
        case ObjectOf() if isinstance(value, Mapping):
            return _conform_object(kind, value, path, problems, complete=complete)
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
        case "date" | "datetime", str():
            return _conform_time(kind, value, path, problems)
        case "int", int() if not isinstance(value, bool):
            return _bounded(value, path, problems)
        case "float", int() | float() if not isinstance(value, bool):
            return _finite(value, path, problems)
        case "any", _:
            return _json_only(value, path, problems)
        case _:
            problems.append(_mismatch(kind, value, path))
            return value


def _conform_choice(kind: Choice, values: tuple[str, ...], value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, str):
        problems.append(_mismatch(kind, value, path))
    elif value not in values:
        hint = f" ({suggest(value, values, 'values')})" if len(problems) < _MAX_HINTS else ""
        problems.append(f"{path}: {_shown(value)} isn't one of its values{hint}")
    return value


def _conform_time(kind: Simple, value: str, path: str, problems: list[str]) -> str:
    try:
        return read_date(value) if kind == DATE else read_datetime(value)
    except ValueError as error:
        problems.append(f"{path}: {_shown(value)} {error}")
        return value


def _text(value: str, path: str, problems: list[str]) -> str:
    """Reports half of a surrogate pair: JSON can contain it (`"\\ud800"`), files, terminals and Postgres can't."""
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        problems.append(f"{path}: the text contains half of a surrogate pair")
    return value


def _bounded(value: int, path: str, problems: list[str]) -> int:
    if value.bit_length() > _MAX_INT_BITS:
        problems.append(f"{path}: the number has more than {_MAX_INT_BITS} bits")
    return value


def _finite(value: int | float, path: str, problems: list[str]) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        problems.append(f"{path}: {value if isinstance(value, float) else 'the number'} isn't a finite number")
    return number


def _json_only(value: Any, path: str, problems: list[str], depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        problems.append(f"{path[:60]}…: nests deeper than {_MAX_DEPTH} levels")
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
    problems.extend(f"{path}: the key {k!r} isn't a text" for k in value if not isinstance(k, str))
    return [(k, v) for k, v in value.items() if isinstance(k, str)]


def _conform_object(kind: ObjectOf, value: Mapping[Any, Any], path: str, problems: list[str], *, complete: bool) -> Any:
    fields = kind.fields
    if fields is None:
        return _json_only(value, path, problems)
    given = dict(_items(value, path, problems))
    for unknown in (name for name in given if name not in fields):
        hint = did_you_mean(unknown, fields) if len(problems) < _MAX_HINTS else None
        problems.append(f"{path}.{unknown}: no such field" + (f" ({hint})" if hint else ""))
    result: dict[str, Any] = {}
    for name, f in fields.items():
        if name in given:
            result[name] = conform(f.type, given[name], f"{path}.{name}", problems, complete=complete)
        elif f.has_default:
            result[name] = f.default
        elif isinstance(f.type, Nullable):
            result[name] = None
        elif f.required or complete:
            problems.append(f"{path}.{name}: missing")
    return result


def _mismatch(kind: Type, value: Any, path: str) -> str:
    shown = _shown(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    given = f"{type_of(value)} {shown}".rstrip()
    return f"{path}: expected {describe(kind)}, got {given}"


def _shown(value: str | float) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 3]}…"
