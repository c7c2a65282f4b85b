"""A service's log on disk, which can't grow for ever."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

LIMIT: Final = 10_000_000
"""Bytes of one file."""
KEPT: Final = 2
"""Files that are kept beside the one that is being written: `.1` is the newest."""


class LogFile:
    """What the disk refuses is lost: services must not wait for it."""

    def __init__(self, path: Path, *, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._file: BinaryIO | None = None

    def write(self, lines: bytes) -> None:
        """Appends whole lines."""
        with suppress(OSError):
            file = self._opened()
            file.write(lines)
            if file.tell() >= self._limit:
                self.close()
                self._put_aside()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO:
        if self._file is None:
            number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._file = open(number, "ab", buffering=0)  # noqa: PTH123, SIM115  # open for as long as the service runs
        return self._file

    def _put_aside(self) -> None:
        files = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, KEPT + 1))]
        for older, newer in zip(reversed(files), reversed(files[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)
