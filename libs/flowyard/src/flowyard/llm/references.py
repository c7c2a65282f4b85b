"""Resolves references in headers (`${env:NAME}`) when a call is made: their values are in no document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from flowyard.errors.steps import ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.language.secret_references import (
    HEADERS,
    contains_reference,
    has_reference,
    reference_fault,
    replace_references,
)

_NOT_IN_A_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_BYTES: Final = 64 * 1024


def resolve(
    settings: ModelSettings, environ: Mapping[str, str], files: Path | None
) -> tuple[ModelSettings, frozenset[str]]:
    """The settings with all references in their headers replaced, and the values that replaced them.

    `files`: the only folder that may be read. Raises ModelRefused.
    """
    names = [name for name in HEADERS if contains_reference(settings.extra.get(name))]
    if not names:
        return settings, frozenset()
    values: set[str] = set()
    extra = dict(settings.extra)
    for name in names:
        extra[name] = {
            header: _resolve_header(header, value, settings, environ, files, values)
            for header, value in extra[name].items()
        }
    return replace(settings, extra=extra), frozenset(values)


def _resolve_header(
    header: str, value: Any, settings: ModelSettings, environ: Mapping[str, str], files: Path | None, values: set[str]
) -> Any:
    if not has_reference(value):
        return value
    refuse = partial(_refused, settings, header)
    fault = reference_fault(value)
    if fault is not None:
        raise refuse(fault)

    def look_up(kind: str, name: str) -> str:
        text = environ.get(name) if kind == "env" else _content(files, name)
        if not text:
            where = "environment variable" if kind == "env" else "file"
            folder = "" if kind == "env" else " in the folder that FLOWYARD_REFERENCED_FILES names"
            raise refuse(f"it needs the {where} {name}{folder}, which is missing or empty")
        if _NOT_IN_A_HEADER.search(text):
            raise refuse(f"{name} contains a character that no header can have")
        values.add(text)
        return text

    return replace_references(value, look_up)


def _content(files: Path | None, name: str) -> str | None:
    """The text of a file in the folder. None if there is none, or if links or `..` lead out of the folder."""
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


def _refused(settings: ModelSettings, header: str, why: str) -> ModelRefused:
    return ModelRefused(f"the header '{header}': {why}", provider=settings.provider, model=settings.model)
