"""Checks a document that a model has written: as `flowyard validate` does, then its own tests, as `flowyard test` does.

Nothing else happens with it: no model is called, no secret, variable or file is read, nothing is sent or stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from flowyard.drafts.blocks import Block, documents_in
from flowyard.language.installation import Installation
from flowyard.language.load import Loaded, load_text
from flowyard.language.problems import Problem
from flowyard.language.workflow import Workflow
from flowyard.steps.code_runner import CodeCall, CodeResult, RunCode, no_sandbox
from flowyard.steps.context import CheckDocuments, SizeLimits
from flowyard.threads import in_daemon_thread
from flowyard.tools.registry import ToolRegistry

if TYPE_CHECKING:
    from flowyard.graph.cases import CaseResult

MOST_BYTES: Final = 64 * 1024
"""Of a document: as much as a model writes in a reply, and little enough to be checked quickly."""
TEST_S: Final = 5.0
"""Seconds for all tests of a document."""
SIZES: Final = SizeLimits(outputs=256 * 1024, state=1024 * 1024)
"""Of what the steps of a test write."""
FILE: Final = "document"
NO_TESTS: Final = "the document has no tests: add at least one to 'tests', with canned replies for its prompt nodes"
_SHOWN: Final = 10
_LONGEST: Final = 400
_LONGEST_LINE: Final = 80


@dataclass(frozen=True, slots=True)
class Checked:
    """A document, and what came of its tests: None if they weren't run, since it isn't valid."""

    text: str
    loaded: Loaded
    results: Sequence[CaseResult] | None

    @property
    def faults(self) -> list[str]:
        """What is wrong, an entry each, for the model: bounded in number and length."""
        if self.loaded.workflow is None:
            return _bounded([_located(problem, self.text) for problem in self.loaded.errors])
        if not self.loaded.workflow.cases:
            return [NO_TESTS]
        failed = [each for each in self.results or () if each.faults]
        return _bounded([f"the test '{each.name}' fails: {'; '.join(each.faults)}" for each in failed])

    @property
    def test_faults(self) -> list[list[str]] | None:
        """What is wrong with each test that was run, in their order: bounded as `faults`."""
        return [_bounded(each.faults) for each in self.results] if self.results is not None else None


CheckDocument: TypeAlias = Callable[[str, Installation], Checked]


def document_checks(
    installation: Callable[[], Installation], check: CheckDocument | None = None, *, run_code: RunCode = no_sandbox
) -> CheckDocuments:
    """For the steps of a process. It checks one document at a time, in a thread of its own. `run_code`: of tests."""
    turn = asyncio.Lock()

    async def check_text(text: str) -> Sequence[str]:
        blocks = documents_in(text) if len(text) <= MOST_BYTES else await asyncio.to_thread(documents_in, text)
        if fault := block_fault(blocks):
            return [fault]
        if not blocks:
            return []
        known = installation()
        check_document = check or partial(checked_document, run_code=from_threads(run_code))
        await turn.acquire()
        work = asyncio.ensure_future(in_daemon_thread(lambda: check_document(blocks[0].text, known)))
        # Not before the thread has ended, also if this step is cancelled.
        work.add_done_callback(lambda _: turn.release())
        return (await asyncio.shield(work)).faults

    return check_text


def checked_document(
    text: str, installation: Installation, *, test_s: float = TEST_S, run_code: RunCode = no_sandbox
) -> Checked:
    """Blocks for up to `test_s` seconds and the time of the checks, which is short for so small a document.

    `run_code`: can be called in the event loop of its tests.
    """
    loaded = load_document(text, installation)
    workflow = loaded.workflow
    results = _tested(workflow, installation, test_s, run_code) if workflow is not None else None
    return Checked(text, loaded, results)


def from_threads(run_code: RunCode) -> RunCode:
    """It goes on in the event loop in which this is called, wherever it is called."""
    loop = asyncio.get_running_loop()

    async def run(call: CodeCall) -> CodeResult:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run_code(call), loop))

    return run


def _tested(workflow: Workflow, installation: Installation, test_s: float, run_code: RunCode) -> Sequence[CaseResult]:
    # Inline: LangGraph takes 0.7 s to import, and most processes never check a document.
    from flowyard.graph.cases import CaseLimits, run_cases, tools_for_tests  # noqa: PLC0415

    async def check_only(text: str) -> Sequence[str]:
        """The tests of documents in tests aren't run: these might have documents in their tests, too."""
        blocks = documents_in(text)
        if fault := block_fault(blocks):
            return [fault]
        return [
            fault for each in blocks for fault in Checked(each.text, load_document(each.text, installation), ()).faults
        ]

    limits = CaseLimits(sizes=SIZES, run_code=run_code, tools=tools_for_tests(ToolRegistry(), installation.tools))
    return run_cases(workflow, seconds=test_s, limits=limits, check_documents=check_only)


def load_document(text: str, installation: Installation) -> Loaded:
    return load_text(text, FILE, installation)


def block_fault(blocks: Sequence[Block]) -> str | None:
    """Why these blocks of one reply aren't checked; None: they are."""
    if len(blocks) > 1:
        return f"there are {len(blocks)} yaml blocks: write one, with the whole document"
    for block in blocks:
        if not block.is_closed:
            return "the yaml block has no end: close it with a line ```"
        if len(block.text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
            return f"the document has more than {MOST_BYTES // 1024} KiB: make it smaller"
    return None


def _located(problem: Problem, text: str) -> str:
    """The problem with the line in question: models don't count lines well."""
    lines = text.split("\n")
    line = lines[problem.position.line - 1].strip() if problem.position.line <= len(lines) else ""
    return f"{problem.render(FILE)}" + (f", in the line: {_cut(line, _LONGEST_LINE)}" if line else "")


def _bounded(faults: Sequence[str]) -> list[str]:
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return [*(_cut(fault, _LONGEST) for fault in faults[:_SHOWN]), *more]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
