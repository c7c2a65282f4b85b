"""Problems of a document: the position, what is wrong, and what would be correct."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning"]
KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a part of a document, such as `('nodes', 2, 'prompt')`, or of a node."""
# Comparing two words takes time in proportion to the product of their lengths.
_LONGEST_WORD: Final = 80
_MOST_WORDS: Final = 1_000


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in a text. Both numbers begin with 1; columns count characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem. `code`: never changes, for programs. `suggestion`: a hint how to correct it, or None."""

    code: str
    message: str
    position: Position
    suggestion: str | None = None
    severity: Severity = "error"

    def render(self, file: str) -> str:
        """`file:line:col: message (suggestion) [code]`, the form that editors and terminals can jump to."""
        kind = "warning: " if self.severity == "warning" else ""
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{file}:{self.position.line}:{self.position.column}: {kind}{self.message}{hint} [{self.code}]"

    def as_data(self, file: str) -> dict[str, Any]:
        """The same for programs: `file, line, column, severity, code, message, suggestion`."""
        return {
            "file": file,
            "line": self.position.line,
            "column": self.position.column,
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "suggestion": self.suggestion,
        }


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """`did you mean 'write'?` with the most similar known word; None if no word is similar.

    `cutoff`: how similar, from 0 to 1, the same word.
    """
    if len(word) > _LONGEST_WORD:
        return None
    by_lower = {k.lower(): k for k in islice(known, _MOST_WORDS) if len(k) <= _LONGEST_WORD}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return f"did you mean '{by_lower[near[0]]}'?" if near else None


def suggest(word: str, known: Iterable[str], what: str) -> str:
    """The hint of `did_you_mean`; if no word is similar, all known ones. `what`: the list's name, such as 'fields'."""
    known = sorted(known) if isinstance(known, (set, frozenset)) else list(known)
    near = did_you_mean(word, known)
    if near:
        return near
    if not known:
        return f"there are no {what}"
    shown = ", ".join(known[:12])
    return f"{what}: {shown}{', …' if len(known) > 12 else ''}"
