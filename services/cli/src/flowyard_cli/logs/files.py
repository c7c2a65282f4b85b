"""The log files of `flowyard up`, with older files that were full."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard_cli.logs.line import LineFilter, LogLine, OnLine, dated, decode_line
from flowyard_embedded.stack.log_file import OLD_FILES

_LOOK_S: Final = 0.2


class LogFiles:
    """A Source. `folder`: the place's `logs`."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder
        self._tails: dict[str, _Tail] = {}

    @property
    def names(self) -> Set[str]:
        return self._tails.keys()

    def newest(self, line_filter: LineFilter, most: int | None) -> Sequence[LogLine]:
        return [line for tail in self._known() for line in tail.newest(line_filter, most)]

    def follow(self, line_filter: LineFilter, on_line: OnLine, stop: threading.Event) -> None:
        while not stop.wait(_LOOK_S):
            for tail in self._known():
                for line in tail.more(line_filter):
                    on_line(line)

    def _known(self) -> Sequence[_Tail]:
        """New services may have appeared since the last call."""
        for path in sorted(self._folder.glob("*.log")):
            self._tails.setdefault(path.stem, _Tail(path))
        return tuple(self._tails.values())


@dataclass(frozen=True, slots=True)
class _Content:
    """What was read from a file. `number`: its inode, which it keeps when it is renamed. `end`: where to read on."""

    number: int
    text: bytes
    end: int


class _Tail:
    """The log of a process. Each read continues where the last ended, even if that file was renamed meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number, self._at = -1, 0

    def newest(self, line_filter: LineFilter, most: int | None) -> list[LogLine]:
        lines: list[LogLine] = []
        for content in self._contents():
            for text in reversed(content.text.splitlines()):
                if most is not None and len(lines) >= most:
                    return dated(reversed(lines))
                lines += self._matching(text, line_filter)
        return dated(reversed(lines))

    def more(self, line_filter: LineFilter) -> list[LogLine]:
        contents = list(self._contents(self._number, self._at))
        return [
            line
            for content in reversed(contents)
            for text in content.text.splitlines()
            for line in self._matching(text, line_filter)
        ]

    def _contents(self, known: int = -1, at: int = 0) -> Iterator[_Content]:
        """The newest file first, each up to its last complete line. `known`: the last file to read, from `at` on."""
        seen: set[int] = set()
        for path in (self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, OLD_FILES + 1))):
            content = _read(path, known, at)
            # A file that was renamed just now appears twice.
            if content is None or content.number in seen:
                continue
            if not seen:
                self._number, self._at = content.number, content.end
            seen.add(content.number)
            yield content
            if content.number == known:
                return

    def _matching(self, text: bytes, line_filter: LineFilter) -> Iterator[LogLine]:
        decoded = text.decode(errors="replace")
        if decoded and line_filter.may_match(decoded):
            line = decode_line(self._path.stem, decoded)
            if line_filter.matches(line):
                yield line


def _read(path: Path, known: int, at: int) -> _Content | None:
    """None if the file is missing or unreadable."""
    try:
        with path.open("rb") as file:
            number = os.fstat(file.fileno()).st_ino
            begin = file.seek(at if number == known else 0)
            text = file.read()
    except OSError:
        return None
    whole = text[: text.rfind(b"\n") + 1]
    return _Content(number, whole, begin + len(whole))
