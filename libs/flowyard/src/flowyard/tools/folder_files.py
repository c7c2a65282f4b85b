"""Reads and writes files in shared folders, and in nothing else.

Each name of a path is opened by itself, relative to the folder before it, and symbolic links are refused: whoever swaps
names meanwhile can't lead a tool out of the folder. Only regular files are opened, and only those with a single name:
the other name of a hard link may be anywhere.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from flowyard.tools.folders import FilePlace, check_writable
from flowyard.tools.tool import ToolFailed

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of a file that is read as a whole."""
FOLDER_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
_ROOT_FLAGS: Final = FOLDER_FLAGS & ~getattr(os, "O_NOFOLLOW", 0)
# A FIFO would make an open wait for ever, if it took the place of a file in time.
_READ_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
)
_NEW_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems say that have no hard links."""
_PART: Final = 1024 * 1024
_EXECUTABLE: Final = 0o111


@contextmanager
def opened_folder(place: FilePlace, *, is_parent: bool = False, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder at the place, or of the one that holds it. Raises ToolFailed.

    `make`: folders that don't exist are made.
    """
    if os.open not in os.supports_dir_fd:
        raise ToolFailed("tools can't open folders on this system")
    folder = _open_root(place)
    try:
        for i, name in enumerate(place.parts[:-1] if is_parent else place.parts):
            with failing(f"{place.folder.name}/{'/'.join(place.parts[: i + 1])}"):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=folder)
                inner = os.open(name, FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _open_root(place: FilePlace) -> int:
    try:
        # Who shares a folder may name it by a link.
        return os.open(place.folder.path, _ROOT_FLAGS)
    except OSError as error:
        raise ToolFailed(f"the folder '{place.folder.name}' can't be opened: {error.strerror}") from error


@contextmanager
def failing(path: str) -> Iterator[None]:
    """Raises ToolFailed for an OSError, without any path of the machine."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT:
                raise ToolFailed(f"there is no '{path}'") from error
            case errno.ELOOP | errno.EMLINK | errno.ENOTDIR:
                raise ToolFailed(f"'{path}' is a symbolic link, or no folder") from error
            case _:
                raise ToolFailed(f"'{path}': {error.strerror}") from error


def read_file(place: FilePlace, *, most: int = MOST_BYTES) -> bytes:
    """Raises ToolFailed."""
    if not place.parts:
        raise ToolFailed(f"'{place.path}' is a folder: name a file in it")
    with opened_folder(place, is_parent=True) as folder:
        return read_in(folder, place.parts[-1], place.path, most=most)


def read_in(folder: int, name: str, path: str, *, most: int) -> bytes:
    """The content of a file in an open folder. `path`: how it is called. Raises ToolFailed."""
    with failing(path):
        # Before it is opened: to open a device may have an effect.
        _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
        file = os.open(name, _READ_FLAGS, dir_fd=folder)
        try:
            about = os.fstat(file)
            _check_regular(about, path)
            if about.st_size > most:
                raise ToolFailed(f"'{path}' has {about.st_size:,} bytes; the limit is {most:,}")
            return _read(file, path, most)
        finally:
            os.close(file)


def _check_regular(about: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(about.st_mode):
        raise ToolFailed(f"'{path}' is a symbolic link, which tools don't follow")
    if stat.S_ISDIR(about.st_mode):
        raise ToolFailed(f"'{path}' is a folder: name a file in it")
    if not stat.S_ISREG(about.st_mode):
        raise ToolFailed(f"'{path}' is no regular file")
    if about.st_nlink > 1:
        raise ToolFailed(f"'{path}' has several names (hard links), which may lead out of the folder")


def _read(file: int, path: str, most: int) -> bytes:
    parts, size = list[bytes](), 0
    while part := os.read(file, _PART):
        size += len(part)
        if size > most:
            raise ToolFailed(f"'{path}' has more than {most:,} bytes")
        parts.append(part)
    return b"".join(parts)


def write_file(place: FilePlace, content: bytes, *, overwrite: bool) -> bool:
    """Writes a whole file, or nothing of it. Returns whether it is new. Raises ToolFailed.

    A file that has this content already is left as it is: the call may be made again after a crash.
    """
    check_writable(place)
    with opened_folder(place, is_parent=True, make=True) as folder:
        name = place.parts[-1]
        with failing(place.path):
            is_new = _check_replaceable(folder, name, place.path)
            if not is_new and not overwrite:
                _check_same(folder, name, place.path, content)
                return False
            temporary = f".flowyard-{secrets.token_hex(8)}"
            try:
                _write_new(folder, temporary, content)
                if overwrite:
                    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                else:
                    _link(folder, temporary, name, place.path, content)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
            # Not every file system can do it, and the file is there.
            with suppress(OSError):
                os.fsync(folder)
        return is_new


def _check_replaceable(folder: int, name: str, path: str) -> bool:
    """Whether there is no such file. Raises ToolFailed for what isn't replaced."""
    try:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(about.st_mode):
        raise ToolFailed(f"'{path}' is there, and is no regular file: it isn't replaced")
    if about.st_mode & _EXECUTABLE:
        raise ToolFailed(f"'{path}' is a program: it isn't replaced")
    return False


def _write_new(folder: int, name: str, content: bytes) -> None:
    file = os.open(name, _NEW_FLAGS, 0o666, dir_fd=folder)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def _link(folder: int, temporary: str, name: str, path: str, content: bytes) -> None:
    """Unlike a rename, it replaces nothing that somebody else has written meanwhile."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        _check_same(folder, name, path, content)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def _check_same(folder: int, name: str, path: str, content: bytes) -> None:
    if read_in(folder, name, path, most=MOST_BYTES) != content:
        raise ToolFailed(f"'{path}' is there already: to replace it, set overwrite")
