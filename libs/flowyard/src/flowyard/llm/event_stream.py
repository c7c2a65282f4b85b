"""The data of server-sent events, from the bytes of a stream. Pure.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

LINE_LIMIT: Final = 1_000_000
"""Most bytes of one line: an endless line must not fill the memory."""
_BOM: Final = b"\xef\xbb\xbf"


class BrokenReply(ValueError):
    """An answer can't be read. The message says why."""


class EventDecoder:
    """Receives the chunks of one stream, which may end anywhere: in a line, a line's end or a character.

    A line ends at CR, LF or CRLF and nowhere else: a text may contain U+2028 and the other line breaks of Unicode.
    """

    __slots__ = ("_after_cr", "_data", "_is_first", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._data: list[str] = []
        self._is_first, self._after_cr = True, False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of each event that ends in this chunk; events without data are left out. Raises BrokenReply."""
        if self._after_cr:
            # The line was complete with its CR. Waiting for the LF would hold the event back.
            chunk = chunk.removeprefix(b"\n")
        # Of bytes, `splitlines` knows no line breaks but CR, LF and CRLF.
        for piece in chunk.splitlines(keepends=True):
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > LINE_LIMIT:
                raise BrokenReply(f"a line of the stream is longer than {LINE_LIMIT:,} bytes")
            if piece.endswith((b"\r", b"\n")) and (data := self._end_line()):
                yield data
        self._after_cr = chunk.endswith(b"\r")

    def end(self) -> Iterator[str]:
        """The data of an event whose blank line is missing: some servers end the stream without it."""
        return self.feed(b"\r\r")

    def _end_line(self) -> str:
        """The data of the event if this blank line ends it, else ""."""
        line = b"".join(self._pieces).rstrip(b"\r\n")
        self._pieces.clear()
        self._size = 0
        if self._is_first:
            line, self._is_first = line.removeprefix(_BOM), False
        if not line:
            event = "\n".join(self._data)
            self._data.clear()
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode(errors="replace"))
        return ""
