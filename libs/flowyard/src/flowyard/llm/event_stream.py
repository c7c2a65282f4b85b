"""The data of server-sent events, from the bytes of a stream. Pure.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

ENCODINGS: Final = "gzip, deflate"
"""What is accepted: in others, some bytes may stand for gigabytes, which are in memory before any limit sees them."""
LINE_LIMIT: Final = 1_000_000
"""Most bytes of one line: an endless line must not fill the memory."""
_BOM: Final = b"\xef\xbb\xbf"


class BrokenReply(ValueError):
    """An answer can't be read. The message says why."""


def too_large(limit: int) -> BrokenReply:
    return BrokenReply(f"the reply is larger than {limit:,} bytes: FLOWYARD_REPLY_LIMIT is the limit")


class LineDecoder:
    """Receives the chunks of one stream, which may end anywhere: in a line, a line's end or a character.

    A line ends at CR, LF or CRLF and nowhere else: a text may contain U+2028 and the other line breaks of Unicode.
    """

    __slots__ = ("_after_cr", "_is_first", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_first, self._after_cr = True, False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Each line that ends in this chunk, without its end. Raises BrokenReply."""
        if self._after_cr:
            # The line was complete with its CR. Waiting for the LF would hold the line back.
            chunk = chunk.removeprefix(b"\n")
        # Of bytes, `splitlines` knows no line breaks but CR, LF and CRLF.
        for piece in chunk.splitlines(keepends=True):
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > LINE_LIMIT:
                raise BrokenReply(f"a line of the stream is longer than {LINE_LIMIT:,} bytes")
            if piece.endswith((b"\r", b"\n")):
                yield self._end_line()
        self._after_cr = chunk.endswith(b"\r")

    def end(self) -> Iterator[bytes]:
        """The last line, if its end is missing."""
        if self._pieces:
            yield self._end_line()

    def _end_line(self) -> bytes:
        line = b"".join(self._pieces).rstrip(b"\r\n")
        self._pieces.clear()
        self._size = 0
        if self._is_first:
            line, self._is_first = line.removeprefix(_BOM), False
        return line


class EventDecoder:
    """Receives the chunks of one stream of events. `kind`: of the event that `feed` gave last, "" without one."""

    __slots__ = ("_data", "_lines", "_next_kind", "kind")

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._data: list[str] = []
        self._next_kind = self.kind = ""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of each event that ends in this chunk; events without data are left out. Raises BrokenReply."""
        for line in self._lines.feed(chunk):
            if not line:
                yield from self._end_event()
            else:
                self._read_field(line)

    def end(self) -> Iterator[str]:
        """The data of an event whose blank line is missing: some servers end the stream without it."""
        for line in self._lines.end():
            self._read_field(line)
        yield from self._end_event()

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode(errors="replace"))
        elif name == b"event":
            self._next_kind = value.removeprefix(b" ").decode(errors="replace")

    def _end_event(self) -> Iterator[str]:
        data, self.kind = "\n".join(self._data), self._next_kind
        self._data.clear()
        self._next_kind = ""
        if data:
            yield data
