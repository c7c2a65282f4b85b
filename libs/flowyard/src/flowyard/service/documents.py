"""Stored documents as workflows, each parsed once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowyard.errors.requests import InvalidDocument
from flowyard.language.load import Loaded, load_text
from flowyard.language.workflow import Workflow
from flowyard.storage.workflows import Workflows

_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Current:
    """A revision of a workflow, usually the newest one. `definition`: the stored document's id."""

    revision: int
    definition: int
    workflow: Workflow


class DocumentCache:
    """Parsed documents by their digest; the least recently used are dropped when there are more than `most`."""

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._parsed: OrderedDict[str, Loaded] = OrderedDict()
        self._parsing = asyncio.Lock()

    async def load(self, digest: str, file: str, fetch: Callable[[], Awaitable[str]]) -> Loaded:
        """`file`: the name in its problems. `fetch`: returns its text, called only if it isn't cached.

        `workflow` of the result is None if this version of Flowyard refuses what an older one accepted.
        """
        if digest not in self._parsed:
            async with self._parsing:
                if digest not in self._parsed:
                    # In a thread: a long document takes a second, and other requests needn't wait for that.
                    self._parsed[digest] = await asyncio.to_thread(load_text, await fetch(), file)
                    while len(self._parsed) > self._most:
                        self._parsed.popitem(last=False)
        self._parsed.move_to_end(digest)
        return self._parsed[digest]


class Documents:
    """Reads stored documents from Postgres, through a cache."""

    def __init__(self, workflows: Workflows, *, most: int = _MOST) -> None:
        self._workflows = workflows
        self._cache = DocumentCache(most=most)
        self._most = most
        self._last: OrderedDict[str, Current] = OrderedDict()

    async def current(self, name: str) -> Current:
        """Raises UnknownWorkflow; InvalidDocument if this version of Flowyard refuses what an older one accepted."""
        self._last.pop(name, None)
        head = await self._workflows.head(name)
        workflow = await self.get(name, head.definition, head.digest)
        self._last[name] = current = Current(head.number, head.definition, workflow)
        while len(self._last) > self._most:
            self._last.popitem(last=False)
        return current

    def last(self, name: str) -> Current | None:
        """The last result of `current`, perhaps outdated: the caller must check whether it is still current."""
        return self._last.get(name)

    async def revision(self, name: str, number: int) -> Current:
        """As `current`, for the revision of this number. Raises UnknownRevision, too."""
        revision = await self._workflows.revision(name, number)
        return Current(number, revision.definition, await self.get(name, revision.definition, revision.digest))

    async def get(self, name: str, definition: int, digest: str) -> Workflow:
        """`name`: of the workflow, for the problems in its document. Raises InvalidDocument."""
        fetch = partial(self._workflows.document, definition)
        return valid_workflow(await self._cache.load(digest, f"{name}.yaml", fetch))


def valid_workflow(loaded: Loaded) -> Workflow:
    """Raises InvalidDocument with every error."""
    if loaded.workflow is None:
        raise InvalidDocument([problem.as_data(loaded.file) for problem in loaded.errors])
    return loaded.workflow
