"""Joins the surrogate pairs of JSON documents (`"\\ud83d\\ude00"`), which YAML doesn't have."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final

from flowyard.language.problems import Position, Problem
from flowyard.language.reading.source_span import position_at

PAIR: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
# An escaped backslash doesn't begin a pair.
_ESCAPE_OR_PAIR: Final = re.compile(rf"{PAIR.pattern}|\\.", re.DOTALL)
_SAVED_LENGTH: Final = len(r"\ud83d\ude00") - len(r"\U0001f600")


def combined_escape(pair: re.Match[str]) -> str:
    """The single escape (`\\U0001f600`) of the character that a surrogate pair encodes."""
    code = 0x10000 + ((int(pair[1], 16) - 0xD800) << 10) + int(pair[2], 16) - 0xDC00
    return f"\\U{code:08x}"


@dataclass(frozen=True, slots=True)
class JoinedText:
    """A text whose pairs are joined. `positions`: where they begin in it."""

    text: str
    positions: tuple[Position, ...] = ()

    def in_original(self, problem: Problem) -> Problem:
        """The problem with its position in the original text."""
        position = problem.position
        pairs_before = sum(p.line == position.line and p.column < position.column for p in self.positions)
        return replace(problem, position=Position(position.line, position.column + pairs_before * _SAVED_LENGTH))


def join_surrogates(text: str) -> JoinedText:
    """Joins the surrogate pairs of a JSON text. Other texts don't change: a backslash may mean itself there."""
    if not PAIR.search(text) or not _is_json(text):
        return JoinedText(text)
    starts: list[int] = []

    def join(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        starts.append(match.start() - _SAVED_LENGTH * len(starts))
        return combined_escape(match)

    joined = _ESCAPE_OR_PAIR.sub(join, text)
    return JoinedText(joined, tuple(position_at(joined, start) for start in starts))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
