"""Renders a text while it grows: blocks that are whole once, and the last block again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from markupsafe import Markup

from flowyard_gateway.chat_page.markdown import block_starts, render

_UNCLEAR: Final = 12
"""Characters: what so few will become isn't clear yet. `2` may go on as `2.`, the next item of the list before it."""


class Growth(NamedTuple):
    """`whole`: the blocks that have become whole. `last`: the last one so far, in place of what was last before."""

    whole: Markup
    last: Markup


@dataclass(slots=True)
class GrowingText:
    """One text, of which a reader has all blocks but the last one."""

    _whole: int = field(default=0)
    """Characters of the text whose blocks are whole."""

    def grow(self, text: str) -> Growth:
        """`text`: the whole of it, which begins as it did before."""
        rest = text.replace("\r\n", "\n").replace("\r", "\n")[self._whole :]
        length = _whole_length(rest)
        self._whole += length
        whole, last = rest[:length], rest[length:]
        return Growth(render(whole) if whole else Markup(), render(last) if last else Markup())


def _whole_length(text: str) -> int:
    """Characters of the blocks that can't change any more, whatever follows."""
    starts = [0, *block_starts(text)]
    length = _length_of_lines(text, starts[-1])
    if "\n" not in (rest := text[length:]) and len(rest) < _UNCLEAR:
        length = _length_of_lines(text, starts[-2]) if len(starts) > 1 else 0
    return length


def _length_of_lines(text: str, number: int) -> int:
    """Characters of the first lines."""
    end = 0
    for _ in range(number):
        end = text.index("\n", end) + 1
    return end
