"""Headers with references, resolved at the time of the call: what they refer to stands in no document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from flowyard.language import outside
from flowyard.language.nodes import ModelSettings
from flowyard.step_errors import ModelRefused

_NOT_IN_A_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MOST_BYTES: Final = 64 * 1024


def resolve(
    settings: ModelSettings, environ: Mapping[str, str], files: Path | None
) -> tuple[ModelSettings, frozenset[str]]:
    """The settings with what their headers refer to, and what that was. `files`: the one folder that may be read.

    Raises ModelRefused.
    """
    named = {name: settings.extra[name] for name in outside.HEADERS if outside.anywhere(settings.extra.get(name))}
    if not named:
        return settings, frozenset()
    found: set[str] = set()
    extra = dict(settings.extra)
    for name, headers in named.items():
        extra[name] = {
            header: _filled(header, value, settings, environ, files, found) for header, value in headers.items()
        }
    return replace(settings, extra=extra), frozenset(found)


def _filled(
    header: str,
    value: Any,
    settings: ModelSettings,
    environ: Mapping[str, str],
    files: Path | None,
    found: set[str],
) -> Any:
    if not outside.refers(value):
        return value
    refuse = partial(_refused, settings, header)
    wrong = outside.fault(value)
    if wrong is not None:
        raise refuse(wrong)

    def look_up(kind: str, name: str) -> str:
        text = environ.get(name) if kind == "env" else _content(files, name)
        if not text:
            where = "environment variable" if kind == "env" else "file"
            folder = "" if kind == "env" else " in the folder that FLOWYARD_REFERENCED_FILES names"
            raise refuse(f"it needs the {where} {name}{folder}, which isn't there or empty")
        if _NOT_IN_A_HEADER.search(text):
            raise refuse(f"{name} holds a character that no header can have")
        found.add(text)
        return text

    return outside.replaced(value, look_up)


def _content(files: Path | None, name: str) -> str | None:
    """Only of a file that really is in the folder, whatever links and dots make of its name."""
    if files is None:
        return None
    try:
        folder = files.resolve(strict=True)
        file = (folder / name).resolve(strict=True)
        if not file.is_relative_to(folder):
            return None
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MOST_BYTES).strip()
    except (OSError, ValueError):
        return None


def _refused(settings: ModelSettings, header: str, why: str) -> ModelRefused:
    return ModelRefused(f"the header '{header}': {why}", provider=settings.provider, model=settings.model)
