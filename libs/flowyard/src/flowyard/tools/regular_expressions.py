"""Regular expressions of strangers. RE2 never backtracks: a search takes at most the length of the text times the size
of the compiled pattern. Both are bounded here. Syntax: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final

from flowyard.tools.tool import ToolFailed

MOST_PATTERN: Final = 1_000
_MOST_GROUPS: Final = 99
_MOST_WORK: Final = 100_000_000
"""Instructions of the pattern times bytes of the text, for one search. The worst patterns take 30 to 60 ns for each,
and a sixteenth more for each group.
"""
_GROUPS_THAT_DOUBLE: Final = 16
_MEMORY: Final = 4 * 1024 * 1024
_SHOWN: Final = 200


class Pattern:
    """Raises ToolFailed for what is no regular expression. It releases the interpreter's lock while it searches."""

    def __init__(self, text: str) -> None:
        # Here, because only who calls a tool has the package.
        import re2  # noqa: PLC0415

        options = re2.Options()
        options.max_mem = _MEMORY
        options.log_errors = False
        try:
            self._compiled: Any = re2.compile(text, options)
        except (re2.error, UnicodeEncodeError) as error:
            raise ToolFailed(f"no regular expression of RE2: {_reason(error)}") from error
        finally:
            # Its cache holds 128 patterns, with megabytes each.
            re2.purge()
        self.groups = int(self._compiled.groups)
        self.names: Mapping[str, int] = self._compiled.groupindex
        if self.groups > _MOST_GROUPS:
            raise ToolFailed(f"the pattern has {self.groups} groups; the limit is {_MOST_GROUPS}")

    def search_all(self, text: str, until: float) -> Iterator[Match]:
        """All matches, from left to right. `until`: by the monotonic clock. Raises ToolFailed."""
        most_bytes = len(text) if text.isascii() else len(text) * 4
        work = int(self._compiled.programsize) * most_bytes * (1 + self.groups / _GROUPS_THAT_DOUBLE)
        if work > _MOST_WORK:
            raise ToolFailed("the pattern is too large for so long a text: shorten it, or make its repetitions smaller")
        try:
            for match in self._compiled.finditer(text):
                yield Match(text, [match.span(i) for i in range(self.groups + 1)])
                if monotonic() > until:
                    raise ToolFailed("the search takes too long: take a shorter text, or a simpler pattern")
        except UnicodeEncodeError as error:
            raise ToolFailed("the text has half a surrogate pair, which can't be searched") from error


class Match:
    """Groups by number; 0 is the whole match. Each may be as long as the text."""

    __slots__ = ("_spans", "_text")

    def __init__(self, text: str, spans: list[tuple[int, int]]) -> None:
        self._text, self._spans = text, spans

    @property
    def start(self) -> int:
        return self._spans[0][0]

    @property
    def end(self) -> int:
        return self._spans[0][1]

    def length(self, group: int) -> int:
        start, end = self._spans[group]
        return end - start

    @property
    def total_length(self) -> int:
        """Of all groups together."""
        return sum(end - start for start, end in self._spans)

    def group(self, group: int) -> str | None:
        """None: the group has matched nothing."""
        start, end = self._spans[group]
        return self._text[start:end] if start >= 0 else None


def _reason(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(error)
    hint = "; it has no look-around and no back-references" if "(?" in text or "escape" in text else ""
    return text[:_SHOWN] + hint
