"""The text of a reply, from its pieces. Pure."""

from __future__ import annotations

import re
from time import perf_counter
from typing import Final

from flowyard.llm.calls import OnToken
from flowyard.llm.event_stream import too_large

_REPLACEMENT: Final = "\ufffd"
_HALF: Final = re.compile("[\ud800-\udfff]")


class StreamedText:
    """Passes the pieces on, and keeps them. `started`: the time of the request (`perf_counter`).

    JSON may spell one character as two escapes (`"\\ud83d\\ude00"`), and a model's tokens may end between them. So half
    of a character waits for the next piece. A half without another is U+FFFD: UTF-8 has no form for it.

    `limit`: most bytes of the text. `first_token_s`: seconds to the first piece; None: there was none.
    """

    __slots__ = ("_half", "_limit", "_on_token", "_parts", "_size", "_started", "first_token_s")

    def __init__(self, on_token: OnToken, limit: int, *, started: float) -> None:
        self._on_token, self._limit, self._started = on_token, limit, started
        self._size = 0
        self._parts: list[str] = []
        self._half = ""
        self.first_token_s: float | None = None

    def add(self, piece: str) -> None:
        """`piece`: not empty. Raises BrokenReply."""
        self._size += len(piece.encode(errors="surrogatepass"))
        if self._size > self._limit:
            raise too_large(self._limit)
        if self._half:
            piece = f"{_joined(self._half + piece[:1])}{piece[1:]}"
            self._half = ""
        if "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        self._pass_on(_HALF.sub(_REPLACEMENT, piece))

    def end(self) -> str:
        """The whole text. A half whose other half never came is U+FFFD."""
        if self._half:
            self._pass_on(_REPLACEMENT)
        return "".join(self._parts)

    def _pass_on(self, piece: str) -> None:
        if not piece:
            return
        if self.first_token_s is None:
            self.first_token_s = perf_counter() - self._started
        self._parts.append(piece)
        self._on_token(piece)


def whole_text(text: str) -> str:
    """A text that wasn't streamed, as `StreamedText` makes it: the halves of characters joined or replaced."""
    if text.isascii() or not _HALF.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _joined(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
