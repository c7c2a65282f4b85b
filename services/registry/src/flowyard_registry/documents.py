"""Parses documents: those that clients send, and those that are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from flowyard.api.workflows import DocumentProblem
from flowyard.language.installation import Installation
from flowyard.language.load import Loaded, load_bytes, load_text
from flowyard.language.problems import Problem
from flowyard.service.documents import DocumentCache
from flowyard.storage.workflows import Revision
from flowyard.web.turns import Turns

# The code of warnings that `flowyard run` would ignore a key. A server doesn't ignore it.
_HIDDEN: Final = "server-only"


async def read_revision(cache: DocumentCache, revision: Revision) -> Loaded:
    """`workflow` of the result is None if this version refuses what an older one accepted."""

    async def fetch() -> str:
        return revision.document

    return await cache.load(revision.digest, revision.workflow, fetch)


async def read_again(checks: Turns, revision: Revision, installation: Installation) -> Loaded:
    """As `read_revision`, but checked against what the installation says now. Raises TooBusy."""
    async with checks.turn():
        return await asyncio.to_thread(load_text, revision.document, revision.workflow, installation)


async def read_document(checks: Turns, body: bytes, file: str, installation: Installation) -> Loaded:
    """`file`: the document's name in its problems. Raises TooBusy."""
    async with checks.turn():
        return await asyncio.to_thread(load_bytes, body, file, installation)


def document_problems(file: str, problems: Sequence[Problem]) -> list[DocumentProblem]:
    """The problems for a response. `file`: the document's name."""
    return [DocumentProblem(**problem.as_data(file)) for problem in problems if problem.code != _HIDDEN]
