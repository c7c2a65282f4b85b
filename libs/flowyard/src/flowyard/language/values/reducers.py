"""Merges several writes to one field of the state. A null, which an optional field may have, adds nothing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Final, TypeAlias

Reducer: TypeAlias = Callable[[Any, Any], Any]


def append(old: Any, new: Any) -> Any:
    return [*(old or ()), new]


def extend(old: Any, new: Any) -> Any:
    return [*(old or ()), *(new or ())]


def merge(old: Any, new: Any) -> Any:
    return {**(old or {}), **(new or {})}


def _of_values(reducer: Reducer) -> Reducer:
    return lambda old, new: (old if new is None else new) if None in (old, new) else reducer(old, new)


REDUCERS: Final[Mapping[str, Reducer]] = {
    "append": append,
    "extend": extend,
    "merge": merge,
    "add": _of_values(operator.add),
    "max": _of_values(max),
    "min": _of_values(min),
}
"""By the value of `reduce`. Without a reducer, the last write wins."""


def merged(reducer: Reducer, old: Any, new: Sequence[Any]) -> Any:
    """With all new values, in their order. What has come together so far isn't copied for each of them."""
    if reducer is append:
        return [*(old or ()), *new]
    if reducer is extend:
        elements = list(old or ())
        for more in new:
            elements += more or ()
        return elements
    if reducer is merge:
        members = dict(old or {})
        for more in new:
            members.update(more or {})
        return members
    return reduce(reducer, new, old)
