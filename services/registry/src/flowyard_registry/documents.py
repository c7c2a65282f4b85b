"""Documents, read: those that come, and those that are stored."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from flowyard.api.workflows import DocumentProblem
from flowyard.errors import InvalidDocument
from flowyard.language.load import Loaded, load_bytes, load_text
from flowyard.language.problems import Problem
from flowyard.language.workflow import Workflow
from flowyard.storage.workflows import Revision

# Says that `flowyard run` would ignore a key. A server doesn't.
_NOT_HERE: Final = "server-only"


class Documents:
    """Stored documents by their digest: the most recently used ones are kept, read."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._kept: OrderedDict[str, Loaded] = OrderedDict()

    async def read(self, revision: Revision) -> Loaded:
        """Without a workflow if this version refuses what an older one took."""
        loaded = self._kept.pop(revision.digest, None)
        if loaded is None:
            # In a thread: a large document takes a second, and others want answers meanwhile.
            loaded = await asyncio.to_thread(load_text, revision.document, revision.workflow)
        self._kept[revision.digest] = loaded
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return loaded


async def read_document(body: bytes, file: str) -> Loaded:
    """`file` is what problems are called by."""
    return await asyncio.to_thread(load_bytes, body, file)


def valid_workflow(loaded: Loaded) -> Workflow:
    """Raises InvalidDocument with every error."""
    if loaded.workflow is None:
        raise InvalidDocument([problem.as_data(loaded.file) for problem in loaded.errors])
    return loaded.workflow


def shown(file: str, problems: Sequence[Problem]) -> list[DocumentProblem]:
    """Problems as an answer has them."""
    return [DocumentProblem(**problem.as_data(file)) for problem in problems if problem.code != _NOT_HERE]
