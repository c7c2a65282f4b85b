"""What is shown of a workflow that somebody is writing: from the text of a reply, and of the version before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from flowyard.api.described import graph_of, input_field
from flowyard.api.drafts import DraftCost, DraftTest, DraftView
from flowyard.api.runs import money
from flowyard.api.workflows import DocumentProblem
from flowyard.drafts.blocks import BEGINNING, Block, documents_in
from flowyard.drafts.check import FILE, NO_TESTS, block_fault, load_document
from flowyard.drafts.cost import PriceOf, worst_cost
from flowyard.language.difference import unified_diff
from flowyard.language.drawing import ascii_drawing
from flowyard.language.installation import Installation
from flowyard.language.load import Loaded
from flowyard.language.workflow import Workflow

_HIDDEN = "server-only"
"""The code of warnings that `flowyard run` would ignore a key: a draft may be for a server."""
NOT_RUN: Final = "the tests weren't run: no executor answered"


@dataclass(frozen=True, slots=True)
class ReadDraft:
    """A draft as it was read. `document`: its text; None: there is none. `fault`: why it wasn't checked."""

    document: str | None = None
    difference: str = ""
    fault: str | None = None
    loaded: Loaded | None = None

    @property
    def to_test(self) -> str | None:
        """The document, if it has tests that can be run."""
        workflow = self.loaded.workflow if self.loaded is not None else None
        return self.document if workflow is not None and workflow.cases else None


def read_draft(text: str, last: str | None, installation: Installation) -> ReadDraft:
    """`text`, `last`: replies with a document in them, or documents."""
    blocks = _documents(text)
    if not blocks:
        return ReadDraft()
    document = blocks[-1].text
    difference = _difference(last, document)
    if (fault := block_fault(blocks)) is not None:
        return ReadDraft(document, difference, fault)
    return ReadDraft(document, difference, loaded=load_document(document, installation))


def draft_view(draft: ReadDraft, tests: Sequence[Sequence[str]] | None, prices: PriceOf) -> DraftView:
    """`tests`: what is wrong with each test that was run, in their order; None: none was."""
    view = DraftView(document=draft.document, difference=draft.difference)
    if draft.fault is not None:
        view.remarks = [draft.fault]
    if draft.loaded is None:
        return view
    view.problems = [DocumentProblem(**p.as_data(FILE)) for p in draft.loaded.problems if p.code != _HIDDEN]
    workflow = draft.loaded.workflow
    return view if workflow is None else view.model_copy(update=_of_workflow(workflow, tests, prices))


def _of_workflow(workflow: Workflow, tests: Sequence[Sequence[str]] | None, prices: PriceOf) -> dict[str, object]:
    cost = worst_cost(workflow, prices)
    return {
        "name": workflow.name,
        "valid": True,
        "remarks": _remarks(workflow, tests),
        "inputs": [input_field(field) for field in workflow.inputs.values()],
        "graph": graph_of(workflow),
        "drawing": ascii_drawing(workflow),
        "cost": DraftCost(usd=money(cost.usd), replies_usd=money(cost.replies_usd), calls=cost.calls, why=cost.why),
        "tests": list(_tests(workflow, tests or ())),
    }


def _remarks(workflow: Workflow, tests: Sequence[Sequence[str]] | None) -> list[str]:
    if not workflow.cases:
        return [NO_TESTS]
    return [NOT_RUN] if tests is None else []


def _tests(workflow: Workflow, tests: Sequence[Sequence[str]]) -> Iterator[DraftTest]:
    for case, faults in zip(workflow.cases, tests, strict=False):
        yield DraftTest(name=case.name, passed=not faults, faults=list(faults))
    for case in workflow.cases[len(tests) :]:
        yield DraftTest(name=case.name, passed=None, faults=[])


def _difference(last: str | None, document: str) -> str:
    before = _documents(last or "")
    if not before:
        return ""
    return "\n".join(unified_diff(before[-1].text.splitlines(), document.splitlines(), "before", "now"))


def _documents(text: str) -> list[Block]:
    """The documents in a reply; a text that is no reply, but a document, is the only one."""
    return documents_in(text) or ([Block(text)] if BEGINNING.search(text) else [])
