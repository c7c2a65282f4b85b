"""Files to which documents refer by `${file:NAME}`: their texts, from one folder only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 64 * 1024


def what_is_missing(kind: str, name: str, *, of: str = "") -> str:
    """Of a reference `${kind:NAME}` that leads nowhere. `of`: whose environment, with a blank before it."""
    if kind == "env":
        return f"it needs the environment variable {name}{of}, which is missing or empty"
    folder = "in the folder that FLOWYARD_REFERENCED_FILES names"
    return f"it needs the file {name} {folder}, which is missing, empty, or not readable for this service"


def referenced_text(files: Path | None, name: str) -> str | None:
    """The text of a file in the folder. None if there is none that can be read, or if `..` or links lead out of it."""
    if files is None:
        return None
    try:
        folder = files.resolve(strict=True)
        file = (folder / name).resolve(strict=True)
        if not file.is_relative_to(folder):
            return None
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MAX_BYTES).strip()
    except (OSError, ValueError):
        return None
