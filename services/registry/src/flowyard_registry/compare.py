"""Compares two revisions of a workflow."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable
from typing import Any, Final

from flowyard.api.workflows import Difference
from flowyard.language.reading.source import SourceError, read_tree
from flowyard.language.reading.source_document import to_data
from flowyard.language.reading.surrogates import join_surrogates
from flowyard.storage.workflows import Revision
from flowyard_registry.parts import RegistryParts

# Of lines: with more, difflib may take minutes; with fewer, it takes a second.
_MOST_PAIRS: Final = 25_000_000


async def compare(parts: RegistryParts, name: str, older: int | None, newer: int | None) -> Difference:
    """`newer`: None for the current revision; `older`: None for the revision before `newer`.

    Raises UnknownWorkflow, UnknownRevision.
    """
    new = await (parts.workflows.current(name) if newer is None else parts.workflows.revision(name, newer))
    old = await parts.workflows.revision(name, max(1, new.number - 1) if older is None else older)
    return await asyncio.to_thread(_difference, old, new)


def _difference(old: Revision, new: Revision) -> Difference:
    before, after = _sections(old.document), _sections(new.document)
    sections = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    names = f"{old.workflow} revision {old.number}", f"{new.workflow} revision {new.number}"
    lines = _unified(old.document.splitlines(), new.document.splitlines(), *names)
    return Difference(older=old.number, newer=new.number, sections=sections, text="\n".join(lines))


def _unified(old: list[str], new: list[str], old_name: str, new_name: str) -> Iterable[str]:
    if len(old) * len(new) <= _MOST_PAIRS:
        return difflib.unified_diff(old, new, old_name, new_name, lineterm="")
    return [f"--- {old_name}", f"+++ {new_name}", *_single_hunk(old, new)]


def _single_hunk(old: list[str], new: list[str]) -> list[str]:
    """One hunk from the first to the last line that differs, with three lines around it: quick, but not minimal."""
    head = max(0, _common_lines(old, new) - 3)
    old, new = old[head:], new[head:]
    shared = _common_lines(old, new)
    tail = _common_lines(old[shared:][::-1], new[shared:][::-1])
    context = min(3, tail)
    removed, added = old[shared : len(old) - tail], new[shared : len(new) - tail]
    around = shared + context
    after = old[len(old) - tail :][:context]
    return [
        f"@@ -{head + 1},{around + len(removed)} +{head + 1},{around + len(added)} @@",
        *(f" {line}" for line in old[:shared]),
        *(f"-{line}" for line in removed),
        *(f"+{line}" for line in added),
        *(f" {line}" for line in after),
    ]


def _common_lines(old: list[str], new: list[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(old), len(new)))


def _sections(document: str) -> dict[str, Any]:
    try:
        sections: dict[str, Any] = to_data(read_tree(join_surrogates(document).text).root)
    except SourceError:  # only an older version accepted it
        return {}
    return sections
