"""The directory of a server or a stack, and the lock that says which process uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from flowyard_embedded.faults import ServerRunning, needed_directory
from flowyard_embedded.servers.accounts import SystemAccount, make_directory


@dataclass(frozen=True)
class Home:
    """`path`: absolute, without symbolic links. Locked for this process until `release`."""

    path: Path
    lock: TextIO

    def release(self) -> None:
        self.lock.close()


@contextmanager
def taken(home: Path, title: str) -> Iterator[Home]:
    """Makes the directory and locks it for this process. Unlocked if the block raises, else by `release`.

    The system releases the lock when its process ends, however it ends. Raises ServerRunning, UnusableDirectory.
    """
    with needed_directory(home):
        make_directory(home)
        path = home.resolve()
        taken_home = Home(path, _lock(path, title))
        try:
            yield taken_home
        except BaseException:
            taken_home.release()
            raise


def write_secret(file: Path, text: str, *, reader: SystemAccount | None = None) -> None:
    """Whole or not at all. Readable by its owner only: `reader`, or the account of this process."""
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
    lock = open(home / "lock", "a+", encoding="ascii", errors="replace", opener=_privately)  # noqa: SIM115  # open until release
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
