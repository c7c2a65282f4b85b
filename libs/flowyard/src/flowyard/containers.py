"""How many lists and objects a value may have in it: Python's garbage collector looks through all of them again and
again, and holds the event loop meanwhile.
"""

from __future__ import annotations

import re
from typing import Final

MOST_CONTAINERS: Final = 125_000
"""Lists and objects of one value, the value itself among them.

A run has up to eight copies of a value at a time, and a full garbage collection looks through a million small lists in
0.1 s at most: with this limit, one run doesn't hold an event loop for longer.
"""
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class TooManyContainers(ValueError):
    """`count`: of the lists and objects of a value."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"it has {count:,} lists and objects; at most {MOST_CONTAINERS:,} are allowed")


def require_few_containers(text: str) -> None:
    """Raises TooManyContainers. `text`: JSON, which may be invalid."""
    if (count := count_containers(text)) > MOST_CONTAINERS:
        raise TooManyContainers(count)


def count_containers(text: str) -> int:
    """The lists and objects in JSON. Up to MOST_CONTAINERS, brackets within strings may be among them."""
    count = text.count("[") + text.count("{")
    return count if count <= MOST_CONTAINERS else _outside_strings(text)


def _outside_strings(text: str) -> int:
    count = at = 0
    while string := _STRING.search(text, at):
        count += text.count("[", at, string.start()) + text.count("{", at, string.start())
        at = string.end()
    return count + text.count("[", at) + text.count("{", at)
