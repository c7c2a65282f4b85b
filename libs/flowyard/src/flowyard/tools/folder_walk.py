"""Walks through the folders below one, in order, within bounds. What tools may not open isn't seen."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from flowyard.tools.folder_files import FOLDER_FLAGS, opened_folder
from flowyard.tools.folders import FilePlace, Folders, checked_parts, is_visible
from flowyard.tools.tool import ToolFailed

MOST_ENTRIES: Final = 100_000
"""That are looked at, in all folders together."""
_MOST_DEPTH: Final = 32
_SECONDS: Final = 10.0
_ANY_DEPTH: Final = "**"
_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file or a folder. `parent`: a descriptor that is open while the entry is looked at."""

    name: str
    path: str
    parent: int
    is_folder: bool
    size: int
    modified: float

    @property
    def data(self) -> dict[str, Any]:
        if self.is_folder:
            return {"path": self.path, "kind": "folder"}
        when = datetime.fromtimestamp(self.modified, UTC).isoformat(timespec="seconds")
        return {"path": self.path, "kind": "file", "size": self.size, "modified": when}


@dataclass(slots=True)
class Bounds:
    """How much may be looked at. `is_cut`: there was more."""

    until: float = field(default_factory=lambda: monotonic() + _SECONDS)
    entries: int = MOST_ENTRIES
    is_cut: bool = False

    def are_passed(self) -> bool:
        self.is_cut = self.is_cut or self.entries <= 0 or monotonic() > self.until
        return self.is_cut


def entries_of(folder: int, path: str, bounds: Bounds) -> list[FolderEntry]:
    """Of an open folder, sorted by name. Raises OSError."""
    entries: list[FolderEntry] = []
    with os.scandir(folder) as scanned:
        for each in scanned:
            if bounds.are_passed():
                break
            bounds.entries -= 1
            with suppress(OSError):
                entry = _entry(folder, path, each)
                entries += [entry] if entry is not None else []
    return sorted(entries, key=lambda entry: entry.name)


def _entry(folder: int, path: str, each: os.DirEntry[str]) -> FolderEntry | None:
    if not is_visible(each.name):
        return None
    about = each.stat(follow_symlinks=False)
    is_folder = stat.S_ISDIR(about.st_mode)
    if not is_folder and (not stat.S_ISREG(about.st_mode) or about.st_nlink > 1):
        return None
    return FolderEntry(each.name, f"{path}/{each.name}", folder, is_folder, about.st_size, about.st_mtime)


class PathPattern:
    """`docs/**/*.md`: `*`, `?` and `[…]` within a name, `**` for any number of folders. Raises ToolFailed."""

    def __init__(self, folders: Folders, text: str) -> None:
        name, *parts = checked_parts(folders, text)
        if not parts:
            raise ToolFailed(f"'{text}' names no files: write {text}/** for all that are in it")
        fixed = next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts) - 1)
        self.start = FilePlace(folders.by_name[name], tuple(parts[:fixed]), "/".join((name, *parts[:fixed])))
        """The folder below which everything is that it matches."""
        self._parts = [None if part == _ANY_DEPTH else re.compile(fnmatch.translate(part)) for part in parts[fixed:]]

    def walk(self, bounds: Bounds) -> Iterator[FolderEntry]:
        """The files that it matches. Raises ToolFailed if its start can't be opened."""
        with opened_folder(self.start) as folder:
            yield from self._walk(folder, self.start.path, self._closure({0}), bounds, depth=0)

    def _walk(self, folder: int, path: str, at: frozenset[int], bounds: Bounds, *, depth: int) -> Iterator[FolderEntry]:
        """`at`: the parts of the pattern that the next name may match."""
        try:
            entries = entries_of(folder, path, bounds)
        except OSError:
            return
        for entry in entries:
            after = self._after(at, entry.name)
            if not entry.is_folder and len(self._parts) in after:
                yield entry
            elif entry.is_folder and any(i < len(self._parts) for i in after):
                if depth == _MOST_DEPTH:
                    bounds.is_cut = True
                elif (inner := _opened(entry)) is not None:
                    try:
                        yield from self._walk(inner, entry.path, after, bounds, depth=depth + 1)
                    finally:
                        os.close(inner)

    def _after(self, at: frozenset[int], name: str) -> frozenset[int]:
        after: set[int] = set()
        for i in at:
            if i < len(self._parts):
                part = self._parts[i]
                after |= {i} if part is None else {i + 1} if part.match(name) else set()
        return self._closure(after)

    def _closure(self, at: set[int]) -> frozenset[int]:
        """`**` may stand for no folder."""
        for i, part in enumerate(self._parts):
            if i in at and part is None:
                at.add(i + 1)
        return frozenset(at)


def _opened(entry: FolderEntry) -> int | None:
    """None: it can't be opened, or is no folder any more."""
    try:
        return os.open(entry.name, FOLDER_FLAGS, dir_fd=entry.parent)
    except OSError:
        return None
