"""What changed between two revisions."""

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

# Beyond it difflib may take minutes; below it, a second.
_MOST_PAIRS: Final = 25_000_000


async def compare(parts: RegistryParts, name: str, older: int | None, newer: int | None) -> Difference:
    """None: the current revision, and the one before it. Raises UnknownWorkflow, UnknownRevision."""
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
    return [f"--- {old_name}", f"+++ {new_name}", *_one_hunk(old, new)]


def _one_hunk(old: list[str], new: list[str]) -> list[str]:
    """From the first line that differs to the last one, with three around them. Quick for documents of any length."""
    head = max(0, _alike(old, new) - 3)
    old, new = old[head:], new[head:]
    shared = _alike(old, new)
    tail = _alike(old[shared:][::-1], new[shared:][::-1])
    behind = min(3, tail)
    gone, come = old[shared : len(old) - tail], new[shared : len(new) - tail]
    around = shared + behind
    after = old[len(old) - tail :][:behind]
    return [
        f"@@ -{head + 1},{around + len(gone)} +{head + 1},{around + len(come)} @@",
        *(f" {line}" for line in old[:shared]),
        *(f"-{line}" for line in gone),
        *(f"+{line}" for line in come),
        *(f" {line}" for line in after),
    ]


def _alike(old: list[str], new: list[str]) -> int:
    """How many lines both begin with."""
    return next(
        (i for i, (left, right) in enumerate(zip(old, new, strict=False)) if left != right), min(len(old), len(new))
    )


def _sections(document: str) -> dict[str, Any]:
    try:
        sections: dict[str, Any] = to_data(read_tree(join_surrogates(document).text).root)
    except SourceError:  # an older version took it
        return {}
    return sections
