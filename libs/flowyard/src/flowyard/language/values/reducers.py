"""Merges several writes to one field of the state. A null, which an optional field may have, adds nothing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Reducer: TypeAlias = Callable[[Any, Any], Any]


def merge(old: Any, new: Any) -> Any:
    return {**(old or {}), **(new or {})}


def _of_values(reducer: Reducer) -> Reducer:
    return lambda old, new: (old if new is None else new) if None in (old, new) else reducer(old, new)


REDUCERS: Final[Mapping[str, Reducer]] = {
    "append": lambda old, new: [*(old or ()), new],
    "extend": lambda old, new: [*(old or ()), *(new or ())],
    "merge": merge,
    "add": _of_values(operator.add),
    "max": _of_values(max),
    "min": _of_values(min),
}
"""By the value of `reduce`. Without a reducer, the last write wins."""
