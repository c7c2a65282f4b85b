"""The log files of `flowyard up`, with those that were put aside when they grew too long."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowyard_cli.logs.line import Line, Wanted, dated, parsed
from flowyard_cli.logs.source import Hear
from flowyard_embedded.stack.logs import OLD_FILES

_LOOK_S: Final = 0.2


class Files:
    """A Source. `folder`: the place's `logs`."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder
        self._tails: dict[str, _Tail] = {}

    @property
    def names(self) -> Set[str]:
        return self._tails.keys()

    def newest(self, wanted: Wanted, most: int | None) -> Sequence[Line]:
        return [line for tail in self._known() for line in tail.newest(wanted, most)]

    def follow(self, wanted: Wanted, hear: Hear, stop: threading.Event) -> None:
        while not stop.wait(_LOOK_S):
            for tail in self._known():
                for line in tail.more(wanted):
                    hear(line)

    def _known(self) -> Sequence[_Tail]:
        """Services may come while one looks."""
        for path in sorted(self._folder.glob("*.log")):
            self._tails.setdefault(path.stem, _Tail(path))
        return tuple(self._tails.values())


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of one process's log, from somewhere on. Files keep their number when they are put aside."""

    number: int
    text: bytes
    end: int


class _Tail:
    """One process's log. It goes on where it has read to, whatever has become of that file meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number, self._at = -1, 0

    def newest(self, wanted: Wanted, most: int | None) -> list[Line]:
        found: list[Line] = []
        for part in self._parts():
            for text in reversed(part.text.splitlines()):
                if most is not None and len(found) >= most:
                    return dated(reversed(found))
                found += self._wanted(text, wanted)
        return dated(reversed(found))

    def more(self, wanted: Wanted) -> list[Line]:
        parts = list(self._parts(self._number, self._at))
        return [
            line for part in reversed(parts) for text in part.text.splitlines() for line in self._wanted(text, wanted)
        ]

    def _parts(self, known: int = -1, at: int = 0) -> Iterator[_Part]:
        """The newest first, each up to its last whole line; none older than the file `known`, and that from `at`."""
        seen: set[int] = set()
        for path in (self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, OLD_FILES + 1))):
            part = _read(path, known, at)
            # One that was put aside just now is met twice.
            if part is None or part.number in seen:
                continue
            if not seen:
                self._number, self._at = part.number, part.end
            seen.add(part.number)
            yield part
            if part.number == known:
                return

    def _wanted(self, text: bytes, wanted: Wanted) -> Iterator[Line]:
        told = text.decode(errors="replace")
        if told and wanted.may_hold(told):
            line = parsed(self._name, told)
            if wanted.wants(line):
                yield line

    @property
    def _name(self) -> str:
        return self._path.stem


def _read(path: Path, known: int, at: int) -> _Part | None:
    """None for what isn't there, or can't be read."""
    try:
        with path.open("rb") as file:
            number = os.fstat(file.fileno()).st_ino
            begin = file.seek(at if number == known else 0)
            text = file.read()
    except OSError:
        return None
    whole = text[: text.rfind(b"\n") + 1]
    return _Part(number, whole, begin + len(whole))
