"""The types of the functions of expressions: what each takes, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from flowyard.language.values.types import (
    ANY,
    BOOL,
    DATE,
    DATETIME,
    FLOAT,
    INT,
    STR,
    DictOf,
    ListOf,
    ObjectOf,
    Type,
    accepts,
    core,
    describe,
    is_text,
)

Report: TypeAlias = Callable[[int, str], None]
"""Takes the number of an argument, from 0, and what is wrong with it."""
_LISTED: Final[Mapping[str, str]] = {"sum": "numbers", "min": "numbers or texts", "max": "numbers or texts"}
_TEXT_RESULTS: Final[Mapping[str, Type]] = {
    "lower": STR, "upper": STR, "replace": STR, "startswith": BOOL, "endswith": BOOL, "parse_json": ANY,
}  # fmt: skip


def result_type(name: str, kinds: Sequence[Type], report: Report) -> Type:
    """`kinds`: of the arguments, none of which may be null."""
    match name:
        case "len":
            if not (kinds[0] == ANY or is_text(kinds[0]) or isinstance(core(kinds[0]), ListOf | DictOf | ObjectOf)):
                report(0, f"{describe(kinds[0])} has no length")
            return INT
        case "str" | "json":
            return STR
        case "int" | "float":
            if not (is_text(kinds[0]) or accepts(FLOAT, kinds[0])):
                report(0, f"{name} takes a number or a text, not {describe(kinds[0])}")
            return INT if name == "int" else FLOAT
        case "round":
            _numbers(name, kinds, report)
            return INT if len(kinds) == 1 else FLOAT
        case "sum" | "min" | "max":
            return _over_values(name, kinds, report)
        case "join" | "split":
            return _of_parts(name, kinds, report)
        case "now":
            return DATETIME
        case "date" | "date_add" | "date_diff":
            _texts(name, kinds, report)
            return {"date": DATE, "date_diff": FLOAT}.get(name, kinds[0] if kinds[0] in (DATE, DATETIME) else STR)
        case _:
            _texts(name, kinds, report)
            return _TEXT_RESULTS[name]


def element_of(kind: Type) -> Type | None:
    """The type of a list's elements; None if it is no list."""
    inner = core(kind)
    return inner.element if isinstance(inner, ListOf) else ANY if inner == ANY else None


def joined(a: Type, b: Type) -> Type:
    """The type of a value that has one of two types."""
    return a if accepts(a, b) and a != ANY else b if accepts(b, a) and b != ANY else ANY


def _over_values(name: str, kinds: Sequence[Type], report: Report) -> Type:
    """Of one list, or of several values."""
    if len(kinds) == 1:
        element = element_of(kinds[0])
        if element is None:
            report(0, f"{name} takes a list, not {describe(kinds[0])}")
            return ANY
        kinds = [element]
    ordered = [kind for kind in kinds if accepts(FLOAT, kind) or (name != "sum" and is_text(kind))]
    if len(ordered) < len(kinds):
        report(0, f"{name} takes {_LISTED[name]}, not {describe(next(k for k in kinds if k not in ordered))}")
    if len({is_text(kind) for kind in kinds if kind != ANY}) > 1:
        report(0, "numbers and texts have no order")
    result = kinds[0]
    for kind in kinds[1:]:
        result = joined(result, kind)
    return core(result)


def _of_parts(name: str, kinds: Sequence[Type], report: Report) -> Type:
    if name == "join":
        if element_of(kinds[0]) is None:
            report(0, f"join takes a list, not {describe(kinds[0])}")
        _texts(name, kinds, report, first=1)
        return STR
    _texts(name, kinds, report)
    return ListOf(STR)


def _texts(name: str, kinds: Sequence[Type], report: Report, *, first: int = 0) -> None:
    for number, kind in enumerate(kinds[first:], first):
        if not accepts(STR, kind):
            report(number, f"{name} works on text, not on {describe(kind)}")


def _numbers(name: str, kinds: Sequence[Type], report: Report) -> None:
    for number, kind in enumerate(kinds):
        if not accepts(FLOAT, kind):
            report(number, f"{name} takes numbers, not {describe(kind)}")
