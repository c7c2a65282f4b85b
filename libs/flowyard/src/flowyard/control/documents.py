"""Stored documents as workflows."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from flowyard.errors import InvalidDocument
from flowyard.language.load import load_text
from flowyard.language.workflow import Workflow
from flowyard.storage.workflows import Workflows

_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Current:
    """The newest revision of a workflow. `definition`: the stored document."""

    revision: int
    definition: int
    workflow: Workflow


class Documents:
    """Reads each document once. The least recently used go when there are too many."""

    def __init__(self, workflows: Workflows, *, most: int = _MOST) -> None:
        self._workflows = workflows
        self._most = most
        self._read: OrderedDict[str, Workflow] = OrderedDict()
        self._reading = asyncio.Lock()

    async def current(self, name: str) -> Current:
        """Raises UnknownWorkflow; InvalidDocument if this version of Flowyard refuses what an older one took."""
        head = await self._workflows.head(name)
        return Current(head.number, head.definition, await self.get(name, head.definition, head.digest))

    async def get(self, name: str, definition: int, digest: str) -> Workflow:
        """Raises InvalidDocument. `name` is for its problems."""
        known = self._read.get(digest)
        if known is not None:
            self._read.move_to_end(digest)
            return known
        async with self._reading:
            if digest not in self._read:
                self._read[digest] = await self._load(name, definition)
                while len(self._read) > self._most:
                    self._read.popitem(last=False)
            return self._read[digest]

    async def _load(self, name: str, definition: int) -> Workflow:
        text = await self._workflows.document(definition)
        # A long document takes a second to read: others needn't wait for that.
        loaded = await asyncio.to_thread(load_text, text, f"{name}.yaml")
        if loaded.workflow is None:
            raise InvalidDocument([problem.as_data(loaded.file) for problem in loaded.errors])
        return loaded.workflow
