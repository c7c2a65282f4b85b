"""Compares two revisions of a workflow."""

from __future__ import annotations

import asyncio
from typing import Any

from flowyard.api.workflows import Difference
from flowyard.language.difference import unified_diff
from flowyard.language.reading.source import SourceError, read_tree
from flowyard.language.reading.source_document import to_data
from flowyard.language.reading.surrogates import join_surrogates
from flowyard.storage.workflows import Revision
from flowyard_registry.parts import RegistryParts


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
    lines = unified_diff(old.document.splitlines(), new.document.splitlines(), *names)
    return Difference(older=old.number, newer=new.number, sections=sections, text="\n".join(lines))


def _sections(document: str) -> dict[str, Any]:
    try:
        sections: dict[str, Any] = to_data(read_tree(join_surrogates(document).text).root)
    except SourceError:  # only an older version accepted it
        return {}
    return sections
