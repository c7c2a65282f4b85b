"""The log of one process, in files of a limited size. The process appends to the file itself."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE_LIMIT: Final = 10_000_000
"""The size from which a log file is put aside, in bytes."""
OLD_FILES: Final = 2
"""How many full files are kept: `.1` is the newest of them."""
_CHUNK: Final = 1 << 20
_LONGEST_LINE: Final = 1 << 20
_END: Final = 1 << 16
"""Bytes at the end of a file in which its last lines are looked for."""


@dataclass(slots=True)
class _Open:
    """A file that is open. `read_to`: up to where its lines were read. `began`: its size when it was opened."""

    descriptor: int
    began: int
    read_to: int

    @classmethod
    def at(cls, path: Path) -> _Open:
        """/dev/null, if the file can't be opened: lines that can't be written are dropped."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
        size = os.fstat(descriptor).st_size
        return cls(descriptor, size, size)

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def new_lines(self) -> list[bytes]:
        """The whole lines since the last call, and what is longer than a line may be."""
        lines: list[bytes] = []
        while chunk := os.pread(self.descriptor, _CHUNK + _LONGEST_LINE, self.read_to):
            whole = chunk.rfind(b"\n") + 1
            if not whole and len(chunk) < _LONGEST_LINE:
                break
            whole = whole or len(chunk)
            lines += chunk[:whole].removesuffix(b"\n").split(b"\n")
            self.read_to += whole
        return lines

    def last_lines(self) -> list[bytes]:
        """Those at the end."""
        return os.pread(self.descriptor, _END, max(self.began, self.size - _END)).splitlines()


class LogFile:
    """`path` is made when it is first needed, or goes on. For one process after the other, and one reader.

    A file is put aside in two steps: first the process is given a new file, which has another name until the next call
    of `renewed`. Until then the process will have taken it. So who follows the files by their names misses no line.
    """

    def __init__(self, path: Path, *, limit: int = FILE_LIMIT) -> None:
        self._path = path
        self._next_path = path.with_name(f"{path.name}.next")
        self._limit = limit
        self._file: _Open | None = None
        self._before: _Open | None = None
        if self._next_path.exists():  # an earlier supervisor was killed between the two steps
            self._put_aside()

    @property
    def descriptor(self) -> int:
        """To append to."""
        return self._opened().descriptor

    def renewed(self) -> int | None:
        """The descriptor of a new file, if the one so far is full. To be called every second or so."""
        if self._next_path.exists():
            self._put_aside()
        if self._file is None or self._file.size < self._limit:
            return None
        if self._before is not None:
            os.close(self._before.descriptor)
        self._before, self._file = self._file, _Open.at(self._next_path)
        return self._file.descriptor

    def write(self, lines: bytes) -> None:
        """Appends whole lines of the supervisor itself."""
        with suppress(OSError):
            os.write(self.descriptor, lines)
        if self.renewed() is not None:
            self._put_aside()

    def end_line(self) -> None:
        """To be called when the process has ended: the lines of the next one don't continue its last."""
        with suppress(OSError):
            for file in self._files():
                if file.size > file.began and os.pread(file.descriptor, 1, file.size - 1) != b"\n":
                    os.write(file.descriptor, b"\n")

    def new_lines(self) -> list[bytes]:
        """The whole lines that were written since the last call, without their newlines."""
        return [line for file in self._files() for line in file.new_lines()]

    def last_lines(self, most: int) -> list[bytes]:
        """Of those that were written since this object was made."""
        return [line for file in self._files() for line in file.last_lines()][-most:]

    def close(self) -> None:
        for file in self._files():
            os.close(file.descriptor)
        self._before = self._file = None

    def _files(self) -> list[_Open]:
        """A process that hasn't taken a new file yet writes to the one before."""
        return [file for file in (self._before, self._file) if file is not None]

    def _opened(self) -> _Open:
        if self._file is None:
            self._file = _Open.at(self._path)
        return self._file

    def _put_aside(self) -> None:
        files = [self._next_path, self._path]
        files += [self._path.with_name(f"{self._path.name}.{n}") for n in range(1, OLD_FILES + 1)]
        with suppress(OSError):
            for older, newer in zip(reversed(files), reversed(files[:-1]), strict=False):
                if newer.exists():
                    newer.replace(older)
