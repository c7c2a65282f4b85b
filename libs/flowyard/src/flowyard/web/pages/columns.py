"""How wide a text is, in columns: a Latin letter takes one, a Chinese one or an emoji two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from unicodedata import category, east_asian_width

_EMOJI: Final = "\N{MAHJONG TILE EAST WIND}"
"""The first of the emoji. Some of them are narrow by Unicode, and are drawn as wide as the others."""


def columns_of(text: str) -> int:
    return sum(map(_columns, text))


def cut_columns(text: str, columns: int) -> str:
    """The beginning of a text that takes at most so many columns, with `…` if something is missing."""
    return text if columns_of(text) <= columns else f"{''.join(_fitting(text, columns - 1))}…"


def cut_columns_before(text: str, columns: int) -> str:
    """As `cut_columns`, the end of the text."""
    if columns_of(text) <= columns:
        return text
    return f"…{''.join(_fitting(reversed(text), columns - 1))[::-1]}"


def _fitting(letters: Iterable[str], columns: int) -> Iterator[str]:
    for letter in letters:
        columns -= _columns(letter)
        if columns < 0:
            return
        yield letter


def _columns(letter: str) -> int:
    if letter.isascii():
        return 1
    if category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(letter) in "FW" or letter >= _EMOJI else 1
