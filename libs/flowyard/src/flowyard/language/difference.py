"""The difference between two texts, such as documents, in bounded time."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

# Of lines: with more, difflib may take minutes; with fewer, it takes a second.
_MOST_PAIRS: Final = 25_000_000


def unified_diff(old: list[str], new: list[str], old_name: str, new_name: str) -> Iterable[str]:
    """The lines of a unified diff. `old`, `new`: lines."""
    if len(old) * len(new) <= _MOST_PAIRS:
        return difflib.unified_diff(old, new, old_name, new_name, lineterm="")
    return [f"--- {old_name}", f"+++ {new_name}", *_single_hunk(old, new)]


def _single_hunk(old: list[str], new: list[str]) -> list[str]:
    """One hunk from the first to the last line that differs, with three lines around it: quick, but not minimal."""
    head = max(0, _common_lines(old, new) - 3)
    old, new = old[head:], new[head:]
    shared = _common_lines(old, new)
    tail = _common_lines(old[shared:][::-1], new[shared:][::-1])
    context = min(3, tail)
    removed, added = old[shared : len(old) - tail], new[shared : len(new) - tail]
    around = shared + context
    after = old[len(old) - tail :][:context]
    return [
        f"@@ -{head + 1},{around + len(removed)} +{head + 1},{around + len(added)} @@",
        *(f" {line}" for line in old[:shared]),
        *(f"-{line}" for line in removed),
        *(f"+{line}" for line in added),
        *(f" {line}" for line in after),
    ]


def _common_lines(old: list[str], new: list[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(old), len(new)))
