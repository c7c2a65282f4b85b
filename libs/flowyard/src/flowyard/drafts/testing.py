"""Runs the tests of drafts for services without LangGraph: an executor runs them, asked over NATS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import DraftTestResults, DraftTests
from flowyard.drafts.check import MOST_BYTES, TEST_S, checked_document, from_threads
from flowyard.language.installation import Installation
from flowyard.steps.code_runner import RunCode, no_sandbox
from flowyard.threads import in_daemon_thread

WITHIN_S: Final = TEST_S + 3
"""Seconds for an answer: less than the gateway waits for the registry's."""
_QUEUE: Final = "executors"
_MOST_FAULTS: Final = 256 * 1024
"""Bytes of an answer: a message of NATS has at most a megabyte."""
_TOO_MANY: Final = "what is wrong isn't shown: too much is wrong with the tests before it"


async def run_draft_tests(bus: Bus, document: str, *, within_s: float = WITHIN_S) -> list[list[str]] | None:
    """What is wrong with each test that was run, in their order. None: no executor has run them."""
    results = await bus.request(DraftTests(document=document), DraftTestResults, within_s=within_s)
    return results.faults if results is not None else None


@asynccontextmanager
async def serve_draft_tests(
    bus: Bus, installation: Callable[[], Installation], run_code: RunCode = no_sandbox
) -> AsyncIterator[None]:
    """While this block runs, this process runs the tests of drafts, one document at a time. It needs LangGraph."""

    async def run(message: DraftTests) -> DraftTestResults:
        document = message.document
        if len(document.encode()) > MOST_BYTES:
            return DraftTestResults(faults=None)
        known, execute = installation(), from_threads(run_code)
        checked = await in_daemon_thread(lambda: checked_document(document, known, run_code=execute))
        faults = checked.test_faults
        return DraftTestResults(faults=list(_bounded(faults)) if faults is not None else None)

    async with bus.subscribe(subjects.DRAFT_TESTS, DraftTests, run, queue=_QUEUE):
        yield


def _bounded(faults: Sequence[list[str]]) -> Iterator[list[str]]:
    left = _MOST_FAULTS
    for each in faults:
        left -= len(json.dumps(each))
        yield each if left >= 0 or not each else [_TOO_MANY]
