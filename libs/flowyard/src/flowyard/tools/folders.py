"""Folders that an installation shares with tools, and the paths by which tools name what is in them. Pure."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flowyard.language.problems import suggest
from flowyard.tools.tool import ToolFailed

MOST_PATH: Final = 1_000
"""Characters."""
_MOST_PARTS: Final = 32
_MOST_NAME_BYTES: Final = 255
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_RIGHTS: Final = ("read", "write")
_SYSTEM: Final = ("/proc", "/sys", "/dev")
_EXECUTED: Final = frozenset({"head", "hooks", "__pycache__"})
"""What programs execute, or obey, because it is there: git wherever it finds HEAD, Python at its start."""
_EXECUTED_MODULES: Final = frozenset({"sitecustomize", "usercustomize"})
_EXECUTED_ENDINGS: Final = (".pth", ".pyc", ".pyo")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Categories of characters that can't be seen, or that change how others are seen."""


@dataclass(frozen=True, slots=True)
class Folder:
    name: str
    path: str
    is_writable: bool = False


@dataclass(frozen=True, slots=True)
class Folders:
    by_name: Mapping[str, Folder] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(f"{f.name}={f.path}{':write' if f.is_writable else ''}" for f in self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)


NO_FOLDERS: Final = Folders()


def read_folders(text: str | Folders) -> Folders:
    """`FLOWYARD_TOOL_FOLDERS`: `docs=/srv/docs, out=/srv/out:write`. Raises ValueError."""
    if isinstance(text, Folders):
        return text
    folders: dict[str, Folder] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        folder = _folder(part)
        if folder.name in folders:
            raise ValueError(f"has the name '{folder.name}' twice")
        folders[folder.name] = folder
    return Folders(folders)


def _folder(text: str) -> Folder:
    name, equals, path = (part.strip() for part in text.partition("="))
    before, colon, right = path.rpartition(":")
    if colon and right in _RIGHTS:
        path = before
    else:
        right = "read"
    if not equals or _NAME.fullmatch(name) is None:
        raise ValueError(f"should be name=/path or name=/path:write, separated by commas, not '{text}'")
    path = os.path.normpath(path) if path else path
    if not Path(path).is_absolute():
        raise ValueError(f"should have an absolute path for '{name}', not '{path}'")
    if path.strip("/") == "" or any(path == each or path.startswith(f"{each}/") for each in _SYSTEM):
        raise ValueError(f"can't share {path}")
    return Folder(name, path, is_writable=right == "write")


@dataclass(frozen=True, slots=True)
class FilePlace:
    """`path`: as tools write it. `parts`: the names below the folder; none: the folder itself."""

    folder: Folder
    parts: tuple[str, ...]
    path: str


def find_place(folders: Folders, path: str) -> FilePlace:
    """Where a path leads: the name of a folder, and names below it, with `/` between them. Raises ToolFailed."""
    name, *parts = checked_parts(folders, path)
    return FilePlace(folders.by_name[name], tuple(parts), path)


def checked_parts(folders: Folders, path: str) -> list[str]:
    """The names in a path or in a pattern of paths. The first is that of a folder. Raises ToolFailed."""
    if not folders:
        raise ToolFailed("no folders are shared with tools: set FLOWYARD_TOOL_FOLDERS")
    name, *parts = path.split("/")
    if path.startswith("/") or name not in folders.by_name:
        what = "a path begins with the name of a folder, and not with '/'" if not name else f"no folder '{name[:64]}'"
        raise ToolFailed(f"{what} ({suggest(name, folders.by_name, 'folders')})")
    if len(parts) > _MOST_PARTS or len(path) > MOST_PATH:
        raise ToolFailed(f"a path has at most {_MOST_PARTS} names, and {MOST_PATH:,} characters")
    for part in parts:
        _check_name(part)
    return [name, *parts]


def _check_name(part: str) -> None:
    if part in {"", ".", ".."}:
        raise ToolFailed("a path may have no '.', no '..' and no empty name in it")
    if part.startswith("."):
        raise ToolFailed(f"'{part}': names that begin with a dot are hidden from tools")
    if "\\" in part or any(unicodedata.category(character) == "Cc" for character in part):
        raise ToolFailed("a path may have no backslash and no control character in it")
    try:
        size = len(part.encode())
    except UnicodeEncodeError as error:
        raise ToolFailed("a path may have no half of a surrogate pair in it") from error
    if size > _MOST_NAME_BYTES:
        raise ToolFailed(f"a name in a path has at most {_MOST_NAME_BYTES} bytes")


def is_visible(name: str) -> bool:
    """Whether a tool may name it in a path."""
    try:
        _check_name(name)
    except ToolFailed:
        return False
    return True


def check_writable(place: FilePlace) -> None:
    """Raises ToolFailed if no file may be written there: what programs execute by itself is never written."""
    if not place.folder.is_writable:
        raise ToolFailed(f"the folder '{place.folder.name}' can only be read: FLOWYARD_TOOL_FOLDERS says so")
    if not place.parts:
        raise ToolFailed(f"'{place.path}' is a folder: name a file in it")
    for part in place.parts:
        # As file systems see it that ignore case, or some forms of characters.
        plain = unicodedata.normalize("NFKC", part).casefold()
        if (
            plain in _EXECUTED
            or plain.split(".")[0] in _EXECUTED_MODULES
            or plain.endswith(_EXECUTED_ENDINGS)
            or plain.startswith(".")
        ):
            raise ToolFailed(f"'{part}': programs execute such files by themselves, so tools don't write them")
        if part != part.strip(" .") or ":" in part or any(unicodedata.category(c) in _UNSEEN for c in part):
            raise ToolFailed(f"'{part}': no name that is written may begin or end with a space or a dot, or hide one")
