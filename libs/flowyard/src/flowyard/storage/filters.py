"""Filters of lists and sums: those that are set become a WHERE clause."""

from __future__ import annotations

from typing import Any


def where(*filters: tuple[str, Any]) -> tuple[str, list[Any]]:
    """The clause, or `""`, and its arguments, from `$1` on.

    A filter is a condition with `{}` in the place of its value, and the value: None if the filter isn't set.
    """
    used = [(condition, value) for condition, value in filters if value is not None]
    conditions = [condition.format(f"${number}") for number, (condition, _) in enumerate(used, 1)]
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", [value for _, value in used]
