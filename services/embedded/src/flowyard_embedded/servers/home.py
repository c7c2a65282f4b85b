"""A server's directory, and the lock that says whose server runs in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from flowyard_embedded.servers.accounts import Account, make_directory
from flowyard_embedded.servers.faults import ServerRunning, told_of


@dataclass(frozen=True)
class Home:
    """`path` is absolute and without links. Nobody else works in it until `release`."""

    path: Path
    lock: TextIO

    def release(self) -> None:
        self.lock.close()


@contextmanager
def taken(home: Path, title: str) -> Iterator[Home]:
    """Makes the directory and takes it for this process. Given back if the block raises, else by `release`.

    The system lets go of the lock when its holder dies, however it dies. Raises ServerRunning, UnusableDirectory.
    """
    with told_of(home):
        make_directory(home)
        path = home.resolve()
        found = Home(path, _lock(path, title))
        try:
            yield found
        except BaseException:
            found.release()
            raise


def write_secret(file: Path, text: str, *, reader: Account | None = None) -> None:
    """Whole or not at all; readable by its owner only, which is the reader, or we."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with open(new, "x", encoding="utf-8", opener=_privately) as opened:
        if reader:
            os.fchown(opened.fileno(), reader.uid, reader.gid)
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)


def _lock(home: Path, title: str) -> TextIO:
    lock = open(home / "lock", "a+", encoding="ascii", errors="replace", opener=_privately)  # noqa: SIM115  # open as long as we have the home
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with lock:
            lock.seek(0)
            owner = lock.read(20).strip()
        raise ServerRunning(title, home, owner=int(owner) if owner.isdecimal() else None) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
