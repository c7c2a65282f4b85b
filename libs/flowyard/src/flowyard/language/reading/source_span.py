"""Maps the characters of a scalar to positions in the source, through quotes, escapes, folding and indentation."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

from flowyard.language.problems import Position

LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class SourceSpan:
    """The part of the source, from `start` to `end`, that a scalar was parsed from. `style`: its quotes, or ""."""

    source: str
    start: int
    end: int
    style: str

    def position(self, text: str, offset: int) -> Position:
        return position_at(self.source, _alignment(self, text).index(offset))

    def align(self, text: str) -> Iterator[int]:
        """The index in the source of each character of the text, and of its end.

        This is correct because folding and indentation change nothing but white space.
        """
        at = self._content_start()
        for char in text:
            at, width = self._locate(char, at)
            yield min(at, self.end)
            at += width
        yield min(at, self.end)

    def _content_start(self) -> int:
        if self.style in ("|", ">"):
            header = LINE_END.search(self.source, self.start, self.end)
            return header.end() if header else self.end
        return self.start + 1 if self.style in ("'", '"') else self.start

    def _locate(self, char: str, at: int) -> tuple[int, int]:
        """The index at which `char` of the text begins in the source, and its length there."""
        while at < self.end:
            char_here = self.source[at]
            if self.style == '"' and char_here == "\\":
                width = {"x": 4, "u": 6, "U": 10}.get(self.source[at + 1 : at + 2], 2)
                if self.source[at + 1 : at + 2] not in ("\n", "\r"):
                    return at, width
                at += width
            elif self.style == "'" and self.source.startswith("''", at):
                return at, 2
            elif char_here == char:
                return at, 1
            elif char_here.isspace() and not char.isspace():
                at += 1
            elif char.isspace():
                return at, 1 if char_here.isspace() else 0
            else:
                return at, 1
        return at, 0


class _Alignment:
    """The source indexes of a text's characters, computed up to the largest offset requested so far."""

    def __init__(self, indexes: Iterator[int]) -> None:
        self.remaining = indexes
        self.computed: list[int] = []

    def index(self, offset: int) -> int:
        self.computed.extend(islice(self.remaining, max(0, offset + 1 - len(self.computed))))
        return self.computed[min(max(offset, 0), len(self.computed) - 1)]


# Problems are reported text by text, so a small cache is enough.
@lru_cache(maxsize=4)
def _alignment(span: SourceSpan, text: str) -> _Alignment:
    return _Alignment(span.align(text))


@lru_cache(maxsize=2)
def _line_starts(source: str) -> list[int]:
    return [0, *(match.end() for match in LINE_END.finditer(source))]


def position_at(source: str, index: int) -> Position:
    """Line and column of an index. Lines end as in editors; YAML also has a few rare line ends, which don't count."""
    starts = _line_starts(source)
    line = bisect_right(starts, index)
    return Position(line, index - starts[line - 1] + 1)
