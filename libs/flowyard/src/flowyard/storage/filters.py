"""Filters of lists and sums: those that are set become a WHERE clause."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any


def where(*filters: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The clause, or `""`, and its arguments, from `$1` on.

    A filter is a condition, with `{}` in the place of each of its values unless they are in its text, and the values:
    None if the filter isn't set.
    """
    conditions: list[str] = []
    args: list[Any] = []
    for condition, *values in filters:
        if any(value is None for value in values):
            continue
        if "{}" in condition:
            args += values
        numbers = range(len(args) - len(values) + 1, len(args) + 1)
        conditions.append(condition.format(*(f"${number}" for number in numbers)))
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", args


def among(column: str, values: Collection[str], known: Sequence[str]) -> str:
    """A condition with the values in its text: an index of only some rows is of no use to a parameter.

    Values that aren't `known` are left out.
    """
    return f"{column} IN ({', '.join(repr(value) for value in known if value in values) or 'NULL'})"
