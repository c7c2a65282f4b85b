"""What is shown of a workflow that somebody is writing: from the text of a reply, and of the version before it."""

from __future__ import annotations

from collections.abc import Iterator

from flowyard.api.described import graph_of, input_field
from flowyard.api.drafts import DraftCost, DraftTest, DraftView
from flowyard.api.runs import money
from flowyard.api.workflows import DocumentProblem
from flowyard.drafts.blocks import BEGINNING, Block, documents_in
from flowyard.drafts.check import FILE, NO_TESTS, Checked, block_fault, checked_document
from flowyard.drafts.cost import PriceOf, worst_cost
from flowyard.language.difference import unified_diff
from flowyard.language.drawing import ascii_drawing
from flowyard.language.installation import Installation
from flowyard.language.workflow import Workflow

_HIDDEN = "server-only"
"""The code of warnings that `flowyard run` would ignore a key: a draft may be for a server."""


def draft_view(text: str, last: str | None, installation: Installation, prices: PriceOf) -> DraftView:
    """`text`, `last`: replies with a document in them, or documents. Blocks for some seconds at most."""
    blocks = _documents(text)
    if not blocks:
        return DraftView()
    document = blocks[-1].text
    difference = _difference(last, document)
    if (fault := block_fault(blocks)) is not None:
        return DraftView(document=document, difference=difference, remarks=[fault])
    checked = checked_document(document, installation)
    problems = [DocumentProblem(**p.as_data(FILE)) for p in checked.loaded.problems if p.code != _HIDDEN]
    view = DraftView(document=document, difference=difference, problems=problems)
    workflow = checked.loaded.workflow
    return view if workflow is None else view.model_copy(update=_of_workflow(workflow, checked, prices))


def _of_workflow(workflow: Workflow, checked: Checked, prices: PriceOf) -> dict[str, object]:
    cost = worst_cost(workflow, prices)
    return {
        "name": workflow.name,
        "valid": True,
        "remarks": [] if workflow.cases else [NO_TESTS],
        "inputs": [input_field(field) for field in workflow.inputs.values()],
        "graph": graph_of(workflow),
        "drawing": ascii_drawing(workflow),
        "cost": DraftCost(usd=money(cost.usd), replies_usd=money(cost.replies_usd), calls=cost.calls, why=cost.why),
        "tests": list(_tests(workflow, checked)),
    }


def _tests(workflow: Workflow, checked: Checked) -> Iterator[DraftTest]:
    results = checked.results or ()
    for result in results:
        yield DraftTest(name=result.name, passed=not result.faults, faults=list(result.faults))
    for case in workflow.cases[len(results) :]:
        yield DraftTest(name=case.name, passed=None, faults=[])


def _difference(last: str | None, document: str) -> str:
    before = _documents(last or "")
    if not before:
        return ""
    return "\n".join(unified_diff(before[-1].text.splitlines(), document.splitlines(), "before", "now"))


def _documents(text: str) -> list[Block]:
    """The documents in a reply; a text that is no reply, but a document, is the only one."""
    return documents_in(text) or ([Block(text)] if BEGINNING.search(text) else [])
