"""Reads a field's limits: `enum`, `min`, `max`, `pattern`, `format`, `min_items`, `max_items`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import LimitsShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.limits import MAX_PATTERNS, has_no_value, pattern_fault
from flowyard.language.values.types import FLOAT, INT, STR, Choice, DictOf, Limited, ListOf, Nullable, Type, describe

_CODE: Final = "limit-type"
Change: TypeAlias = Callable[[Type], Type | None]
"""The limited form of a type; None if the limit doesn't concern it."""


def with_limits(document: SourceDocument, path: KeyPath, kind: Type, given: LimitsShape) -> Type:
    """The type with the field's limits. Those of texts and numbers apply to a list's items and a dict's values, too."""
    if document.has_removed_key(path):
        return kind
    for keys, needed, change in _Limits(document, path, given).changes():
        changed = _changed(kind, change)
        if changed == kind:
            key = next(key for key in keys if document.has((*path, key)))
            document.error(_CODE, (*path, key), f"'{key}' needs {needed}, not {describe(kind)}", key=True)
        kind = changed
    if given.min is not None and given.max is not None and given.min <= given.max and _has_no_int(kind):
        message = f"no whole number is between {given.min:,.15g} and {given.max:,.15g}"
        document.error("invalid-value", (*path, "max"), message, "choose other limits, or type: float")
    return kind


def _has_no_int(kind: Type) -> bool:
    while isinstance(kind, ListOf | DictOf | Nullable):
        kind = kind.value if isinstance(kind, DictOf) else kind.element if isinstance(kind, ListOf) else kind.inner
    return has_no_value(kind)


def _changed(kind: Type, change: Change) -> Type:
    changed = change(kind)
    if changed is not None:
        return changed
    match kind:
        case ListOf(element):
            return ListOf(_changed(element, change))
        case DictOf(value):
            return DictOf(_changed(value, change))
        case Nullable(inner):
            return Nullable(_changed(inner, change))
        case _:
            return kind


@dataclass(frozen=True, slots=True)
class _Limits:
    document: SourceDocument
    path: KeyPath
    given: LimitsShape

    def changes(self) -> Iterator[tuple[tuple[str, ...], str, Change]]:
        """For each limit: its keys, what its type must be, and what it makes of a type."""
        given, form = self.given, self.given.format
        pattern = given.pattern if given.pattern is not None and self._is_pattern(given.pattern) else None
        if given.enum is not None:
            self._check_enum(given.enum)
            choice = Choice(tuple(dict.fromkeys(given.enum)))
            yield ("enum",), "a str", lambda kind: choice if kind == STR else None
        if pattern is not None or form is not None:
            limited = Limited(STR, pattern=pattern, format=form)
            yield ("pattern", "format"), "a str", lambda kind: limited if kind == STR else None
        if given.min is not None or given.max is not None:
            low, high = self._bounds("max", given.min, given.max)
            yield ("min", "max"), "a number", lambda kind: Limited(kind, low, high) if kind in (INT, FLOAT) else None
        if given.min_items is not None or given.max_items is not None:
            least, most = self._bounds("max_items", given.min_items, given.max_items)
            keys = ("min_items", "max_items")
            yield keys, "a list", lambda kind: Limited(kind, least, most) if isinstance(kind, ListOf) else None

    def _check_enum(self, values: list[str]) -> None:
        first: dict[str, int] = {}
        for i, value in enumerate(values):
            if first.setdefault(value, i) != i:
                self.document.error(
                    "invalid-value", (*self.path, "enum", i), f"'{value}' is listed twice", "remove one of the two"
                )

    def _is_pattern(self, pattern: str) -> bool:
        self.document.patterns.add(pattern)
        if len(self.document.patterns) > MAX_PATTERNS:
            message = f"a document has at most {MAX_PATTERNS} different patterns"
            self.document.error("out-of-range", (*self.path, "pattern"), message)
            return False
        fault = pattern_fault(pattern)
        if fault is not None:
            hint = "write a regular expression without look-around and references to groups"
            self.document.error("invalid-value", (*self.path, "pattern"), f"this isn't a pattern: {fault}", hint)
        return fault is None

    def _bounds(self, key: str, least: float | None, most: float | None) -> tuple[float | None, float | None]:
        if least is not None and most is not None and least > most:
            message = f"'{key}' is {most:,.15g}, which is less than the least, {least:,.15g}"
            self.document.error("invalid-value", (*self.path, key), message, "exchange them")
        return _whole(least), _whole(most)


def _whole(limit: float | None) -> float | None:
    return int(limit) if limit is not None and float(limit).is_integer() else limit
