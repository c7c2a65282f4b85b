"""JSON may spell a character as two halves (`"\\ud83d\\ude00"`), YAML may not: in a JSON document they are joined."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final

from flowyard.language.problems import Position, Problem
from flowyard.language.reading.origin import position_at

PAIR: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
# A backslash that is itself escaped begins nothing.
_ESCAPE_OR_PAIR: Final = re.compile(rf"{PAIR.pattern}|\\.", re.DOTALL)
_SAVED: Final = len(r"\ud83d\ude00") - len(r"\U0001f600")


def whole(pair: re.Match[str]) -> str:
    """The escape of the one character that a pair of halves stands for."""
    code = 0x10000 + ((int(pair[1], 16) - 0xD800) << 10) + int(pair[2], 16) - 0xDC00
    return f"\\U{code:08x}"


@dataclass(frozen=True, slots=True)
class Joined:
    """A text whose pairs are joined. `places`: where they begin in it."""

    text: str
    places: tuple[Position, ...] = ()

    def as_written(self, problem: Problem) -> Problem:
        """The problem at its place in the text as it was before."""
        at = problem.position
        shorter = sum(p.line == at.line and p.column < at.column for p in self.places)
        return replace(problem, position=Position(at.line, at.column + shorter * _SAVED))


def join_surrogates(text: str) -> Joined:
    """The text itself where it is no JSON: outside of double quotes a backslash is a backslash."""
    if not PAIR.search(text) or not _is_json(text):
        return Joined(text)
    starts: list[int] = []

    def join(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        starts.append(found.start() - _SAVED * len(starts))
        return whole(found)

    joined = _ESCAPE_OR_PAIR.sub(join, text)
    return Joined(joined, tuple(position_at(joined, start) for start in starts))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
