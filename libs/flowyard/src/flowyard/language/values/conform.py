"""Checks whether a value has a type, and converts it where the type allows that."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias, assert_never

from flowyard.exact_json import MOST_LEVELS
from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.values.limits import limit_fault, read_date, read_datetime
from flowyard.language.values.messages import read_message
from flowyard.language.values.types import (
    DATE,
    Choice,
    DictOf,
    Limited,
    ListOf,
    Nullable,
    ObjectField,
    ObjectOf,
    Simple,
    Type,
    describe,
    type_of,
)

_MAX_INT_BITS: Final = 1024
_MAX_SHOWN: Final = 60
_MAX_HINTS: Final = 20
"""Hints in the problems of one value: searching for similar words takes time."""
MAX_PROBLEMS: Final = 50
"""Of one value: the rest of it isn't checked."""
MAX_FILLED: Final = 1_000_000
"""Characters, as JSON, of the defaults that are filled into the objects of one value."""


_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_Path: TypeAlias = "tuple[_Path, str] | tuple[_Path, int] | str"
"""Where a value is. It becomes a text only in a problem: most values have none, and some have a million elements."""


def conform(kind: Type, value: Any, path: str, problems: list[str], *, complete: bool = False) -> Any:
    """The value with each int converted to float where the type is float; nothing else is converted.

    Appends a message to `problems` for each mismatch, which begins with the path (`profile.ages[2]: expected int, got
    str 'a'`); after the first 50, the rest isn't checked. `complete`: an object must have all fields without a default,
    as in a model's reply.
    """
    conforming = _Conforming(problems, len(problems) + MAX_PROBLEMS, complete)
    try:
        return conforming.value(kind, value, path)
    except _TooManyProblems:
        problems.append(f"{path}: these are its first {MAX_PROBLEMS} problems")
        return value


class _TooManyProblems(Exception):
    """Ends the checks of a value."""


@dataclass(slots=True)
class _Conforming:
    """`most`: the number of problems with which the checks end. `filled`: characters of defaults so far."""

    problems: list[str]
    most: int
    complete: bool
    filled: int = 0

    def report(self, path: _Path, problem: str) -> None:
        self.problems.append(f"{_shown_path(path)}: {problem}")
        if len(self.problems) >= self.most:
            raise _TooManyProblems

    def value(self, kind: Type, value: Any, path: _Path) -> Any:
        match kind:
            case Simple():
                return self.simple(kind, value, path)
            case Choice(values):
                return self.choice(kind, values, value, path)
            case Limited(inner):
                before = len(self.problems)
                converted = self.value(inner, value, path)
                if len(self.problems) == before and (fault := limit_fault(kind, converted)):
                    self.report(path, fault)
                return converted
            case Nullable(inner):
                return None if value is None else self.value(inner, value, path)
            case ListOf(element) if isinstance(value, (list, tuple)):
                return [self.value(element, v, (path, i)) for i, v in enumerate(value)]
            case DictOf(inner) if isinstance(value, Mapping):
                return {k: self.value(inner, v, (path, k)) for k, v in self.items(value, path)}
            case ObjectOf() if isinstance(value, Mapping):
                return self.object(kind, value, path)
            case ListOf() | DictOf() | ObjectOf():
                self.mismatch(kind, value, path)
                return value
            case _:
                assert_never(kind)

    def simple(self, kind: Simple, value: Any, path: _Path) -> Any:
        match kind.name, value:
            case "bool", bool():
                return value
            case "str", str():
                return self.text(value, path)
            case "date" | "datetime", str():
                return self.time(kind, value, path)
            case "int", int() if not isinstance(value, bool):
                return self.bounded(value, path)
            case "float", int() | float() if not isinstance(value, bool):
                return self.finite(value, path)
            case "message", Mapping():
                return self.message(value, path)
            case "any", _:
                return self.json_only(value, path)
            case _:
                self.mismatch(kind, value, path)
                return value

    def choice(self, kind: Choice, values: tuple[str, ...], value: Any, path: _Path) -> Any:
        if not isinstance(value, str):
            self.mismatch(kind, value, path)
        elif value not in _set_of(values):
            hint = f" ({suggest(value, values, 'values')})" if len(self.problems) < _MAX_HINTS else ""
            self.report(path, f"{_shown(value)} isn't one of its values{hint}")
        return value

    def time(self, kind: Simple, value: str, path: _Path) -> str:
        try:
            return read_date(value) if kind == DATE else read_datetime(value)
        except ValueError as error:
            self.report(path, f"{_shown(value)} {error}")
            return value

    def message(self, value: Mapping[Any, Any], path: _Path) -> Any:
        def report(steps: tuple[str | int, ...], problem: str) -> None:
            at = path
            for step in steps:
                at = (at, step)  # type: ignore[assignment]  # one of the two kinds of pairs
            self.report(at, problem)

        return self.json_only(read_message(value, report), path)

    def text(self, value: str, path: _Path) -> str:
        """Reports what JSON can contain (`"\\ud800"`), and files, terminals and Postgres can't."""
        if match := _UNSTORABLE.search(value):
            self.report(path, f"the text contains {_named(match[0])}")
        return value

    def bounded(self, value: int, path: _Path) -> int:
        if value.bit_length() > _MAX_INT_BITS:
            self.report(path, f"the number has more than {_MAX_INT_BITS} bits")
        return value

    def finite(self, value: int | float, path: _Path) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.report(path, f"{value if isinstance(value, float) else 'the number'} isn't a finite number")
        return number

    def json_only(self, value: Any, path: _Path, depth: int = 0) -> Any:
        if depth > MOST_LEVELS:
            self.report(f"{_shown_path(path)[:60]}…", f"nests deeper than {MOST_LEVELS} levels")
            return None
        match value:
            case None | bool():
                return value
            case str():
                return self.text(value, path)
            case int():
                return self.bounded(value, path)
            case float():
                return self.finite(value, path)
            case list() | tuple():
                return [self.json_only(v, (path, i), depth + 1) for i, v in enumerate(value)]
            case Mapping():
                return {k: self.json_only(v, (path, k), depth + 1) for k, v in self.items(value, path)}
            case _:
                self.report(path, f"{type_of(value)} can't be stored as JSON")
                return value

    def items(self, value: Mapping[Any, Any], path: _Path) -> list[tuple[str, Any]]:
        for key in value:
            if not isinstance(key, str):
                self.report(path, f"the key {key!r} isn't a text")
            elif match := _UNSTORABLE.search(key):
                self.report(path, f"the key {_shown(key)} contains {_named(match[0])}")
        return [(k, v) for k, v in value.items() if isinstance(k, str)]

    def object(self, kind: ObjectOf, value: Mapping[Any, Any], path: _Path) -> Any:
        fields = kind.fields
        if fields is None:
            return self.json_only(value, path)
        given = dict(self.items(value, path))
        for unknown in (name for name in given if name not in fields):
            hint = did_you_mean(unknown, fields) if len(self.problems) < _MAX_HINTS else None
            self.report((path, unknown), "no such field" + (f" ({hint})" if hint else ""))
        result: dict[str, Any] = {}
        for name, f in fields.items():
            if name in given:
                result[name] = self.value(f.type, given[name], (path, name))
            elif f.has_default:
                result[name] = self.default(f, path)
            elif isinstance(f.type, Nullable):
                result[name] = None
            elif f.required or self.complete:
                self.report((path, name), "missing")
        return result

    def default(self, f: ObjectField, path: _Path) -> Any:
        # A list of a million empty objects would become a million times as large as this.
        self.filled += _default_size(f)
        if self.filled > MAX_FILLED:
            self.report(path, f"with the defaults of its objects it is larger than {MAX_FILLED:,} characters")
            raise _TooManyProblems
        return f.default

    def mismatch(self, kind: Type, value: Any, path: _Path) -> None:
        shown = _shown(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
        given = f"{type_of(value)} {shown}".rstrip()
        self.report(path, f"expected {describe(kind)}, got {given}")


def _default_size(f: ObjectField) -> int:
    return 4 if f.default is None or isinstance(f.default, (bool, int, float)) else len(json.dumps(f.default))


def _shown_path(path: _Path) -> str:
    steps: list[str] = []
    while not isinstance(path, str):
        path, step = path
        shown = str(step) if len(str(step)) <= _MAX_SHOWN else f"{str(step)[:_MAX_SHOWN]}…"
        steps.append(f"[{step}]" if isinstance(step, int) else f".{shown}")
    return path + "".join(reversed(steps))


def _named(character: str) -> str:
    return "the character U+0000" if character == "\0" else "half of a surrogate pair"


@lru_cache(maxsize=256)
def _set_of(values: tuple[str, ...]) -> frozenset[str]:
    return frozenset(values)


def _shown(value: str | float) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 3]}…"
