"""Where a scalar's characters stand in its source: through quotes, escapes, folding and indentation."""

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
class Origin:
    """The stretch of source that a scalar came from."""

    source: str
    start: int
    end: int
    style: str

    def place(self, text: str, offset: int) -> Position:
        return position_at(self.source, _alignment(self, text).index(offset))

    def align(self, text: str) -> Iterator[int]:
        """For each character of the text, and for its end, the index in the source.

        Folding and indentation only ever change white space.
        """
        at = self._content_start()
        for char in text:
            at, width = self._find(char, at)
            yield min(at, self.end)
            at += width
        yield min(at, self.end)

    def _content_start(self) -> int:
        if self.style in ("|", ">"):
            header = LINE_END.search(self.source, self.start, self.end)
            return header.end() if header else self.end
        return self.start + 1 if self.style in ("'", '"') else self.start

    def _find(self, char: str, at: int) -> tuple[int, int]:
        """The index at which `char` of the text begins in the source, and how many characters spell it there."""
        while at < self.end:
            here = self.source[at]
            if self.style == '"' and here == "\\":
                width = _escape_width(self.source, at)
                if self.source[at + 1 : at + 2] not in ("\n", "\r"):
                    return at, width
                at += width
            elif self.style == "'" and self.source.startswith("''", at):
                return at, 2
            elif here == char:
                return at, 1
            elif here.isspace() and not char.isspace():
                at += 1
            elif char.isspace():
                return at, 1 if here.isspace() else 0
            else:
                return at, 1
        return at, 0


def _escape_width(source: str, at: int) -> int:
    return {"x": 4, "u": 6, "U": 10}.get(source[at + 1 : at + 2], 2)


class _Alignment:
    """Where the characters of one text stand, worked out as far as it was asked for."""

    def __init__(self, found: Iterator[int]) -> None:
        self.rest = found
        self.known: list[int] = []

    def index(self, offset: int) -> int:
        self.known.extend(islice(self.rest, max(0, offset + 1 - len(self.known))))
        return self.known[min(max(offset, 0), len(self.known) - 1)]


# Findings come text by text and document by document, so the last few are enough.
@lru_cache(maxsize=4)
def _alignment(origin: Origin, text: str) -> _Alignment:
    return _Alignment(origin.align(text))


@lru_cache(maxsize=2)
def _line_starts(source: str) -> list[int]:
    return [0, *(found.end() for found in LINE_END.finditer(source))]


def position_at(source: str, index: int) -> Position:
    """Lines end as editors see it; YAML itself also takes a few exotic characters for line ends."""
    starts = _line_starts(source)
    line = bisect_right(starts, index)
    return Position(line, index - starts[line - 1] + 1)
