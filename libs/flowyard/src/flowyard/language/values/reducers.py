"""Merges several writes to one field of the state. A null, which an optional field may have, adds nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Reducer: TypeAlias = Callable[[Any, Any], Any]


def append(old: Any, new: Any) -> Any:
    return [*(old or ()), new]


def extend(old: Any, new: Any) -> Any:
    return [*(old or ()), *(new or ())]


def merge(old: Any, new: Any) -> Any:
    return {**(old or {}), **(new or {})}


def add(old: Any, new: Any) -> Any:
    return (old if new is None else new) if None in (old, new) else old + new


def larger(old: Any, new: Any) -> Any:
    return (old if new is None else new) if None in (old, new) else max(old, new)


def smaller(old: Any, new: Any) -> Any:
    return (old if new is None else new) if None in (old, new) else min(old, new)


REDUCERS: Final[Mapping[str, Reducer]] = {
    "append": append, "extend": extend, "merge": merge, "add": add, "max": larger, "min": smaller,
}  # fmt: skip
"""By the value of `reduce`. Without a reducer, the last write wins."""
