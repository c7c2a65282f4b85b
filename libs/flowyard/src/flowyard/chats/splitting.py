"""Splits a text into messages that a platform takes: between paragraphs, lines or words, never within a character."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

EMPTY: Final = "(no text)"
"""In place of a blank text: no platform takes an empty message."""
CUT: Final = "\n[…]"
"""The end of a text that would have needed too many messages."""
_JOINER: Final = "\u200d"
_BREAKS: Final = ("\n\n", "\n", " ")


def split_text(text: str, *, limit: int, most: int, escape: Callable[[str], str]) -> list[str]:
    """At most `most` messages, each escaped, and of at most `limit` units of UTF-16 with that.

    Blanks where it was split are left out, and what can't be sent at all is replaced.
    """
    rest = text.encode(errors="replace").decode().replace("\0", "").strip() or EMPTY
    messages: list[str] = []
    while rest:
        is_last = len(messages) == most - 1
        end = _fitting(rest, limit, escape)
        if end == len(rest):
            messages.append(escape(rest))
            break
        if is_last:
            messages.append(escape(rest[: _break(rest, _fitting(rest, limit - len(CUT), escape))].rstrip()) + CUT)
            break
        end = _break(rest, end)
        messages.append(escape(rest[:end].rstrip()))
        rest = rest[end:].lstrip("\n") if rest[end : end + 1] == "\n" else rest[end:].lstrip(" ")
    return messages


def units(text: str) -> int:
    """Units of UTF-16: no platform counts a text as longer."""
    return len(text.encode("utf-16-le")) // 2


def _fitting(text: str, limit: int, escape: Callable[[str], str]) -> int:
    """The most characters of the beginning that fit."""
    low, high = 1, min(len(text), limit)
    while low < high:
        middle = (low + high + 1) // 2
        if units(escape(text[:middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _break(text: str, end: int) -> int:
    """Where to split, at `end` or before: in the second half, if there is a blank, else between two characters."""
    for blank in _BREAKS:
        at = text.rfind(blank, end // 2, end + len(blank))
        if at > 0 and text[:at].strip():
            return at
    at = end
    while at > end // 2 and _is_continued(text, at):
        at -= 1
    return at if at > end // 2 else end


def _is_continued(text: str, at: int) -> bool:
    """Whether what is seen as one character goes on here: accents, variants, skin tones, joined and paired symbols."""
    following, before = text[at], text[at - 1]
    if unicodedata.category(following) in ("Mn", "Me", "Mc") or _JOINER in (following, before):
        return True
    if "\U0001f3fb" <= following <= "\U0001f3ff":
        return True
    pair = 0
    while at > pair and "\U0001f1e6" <= text[at - 1 - pair] <= "\U0001f1ff":
        pair += 1
    return "\U0001f1e6" <= following <= "\U0001f1ff" and pair % 2 == 1
