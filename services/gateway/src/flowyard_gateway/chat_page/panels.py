"""What the page shows below an answer that has a document: all that one has to know before it is applied."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from fastapi import Request

from flowyard.access import Caller
from flowyard.api.drafts import DraftCost, DraftRequest, DraftView
from flowyard.drafts.check import FILE
from flowyard.errors.requests import InvalidDocument, UnknownWorkflow
from flowyard.language.load import load_text
from flowyard.web.pages.filters import money
from flowyard.web.pages.graph.drawing import GraphDrawing, draw
from flowyard_gateway.chat_page.registry import ask_registry
from flowyard_gateway.chat_page.versions import DraftVersion
from flowyard_gateway.parts import GatewayParts

MOST_LINES: Final = 400
"""Of a difference that is shown."""
_MOST_DRAWN: Final = 60
"""Nodes of a graph that is drawn. A larger one is shown as text."""
_NO_SCOPE: Final = "Your key may not apply workflows: that needs the scope write."
LineKind: TypeAlias = Literal["added", "gone", "place", "same"]


class DiffLine(NamedTuple):
    kind: LineKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """`base`: the path of the turn. `current`: the workflow's revision on the stack; None: there is none of its name.
    `is_current`: that revision is this document. `obstacle`: why it can't be applied; empty: it can.
    `can_go_on`: whether the person may go on from it, and something came after it.
    """

    base: str
    version: DraftVersion
    view: DraftView
    drawing: GraphDrawing | None
    difference: Sequence[DiffLine]
    more_lines: int
    cost: str
    current: int | None
    is_current: bool
    obstacle: str
    can_go_on: bool

    @property
    def key(self) -> str:
        """What the ids of its elements begin with."""
        return f"draft-{self.version.turn.number}"

    @property
    def title(self) -> str:
        if self.version.number is not None:
            return f"Version {self.version.number}"
        error = self.version.turn.error
        is_wrong = error is not None and error.code == "invalid_output"
        return "The last try, which was wrong, too" if is_wrong else "A version that broke off"

    @property
    def errors(self) -> int:
        return sum(problem.severity == "error" for problem in self.view.problems) or len(self.view.remarks)

    @property
    def passed(self) -> int:
        return sum(test.passed is True for test in self.view.tests)


async def make_panel(
    parts: GatewayParts, request: Request, caller: Caller, session_id: UUID, version: DraftVersion, *, is_last: bool
) -> Panel:
    """Raises Unavailable, Refused."""
    view = await _view(parts, request, version)
    shown = list(_lines(view.difference))
    current, is_current = await _current(parts, caller, view)
    return Panel(
        base=f"/chat/c/{session_id}/{version.turn.number}",
        version=version,
        view=view,
        drawing=await asyncio.to_thread(_drawing, view),
        difference=shown[:MOST_LINES],
        more_lines=max(0, len(shown) - MOST_LINES),
        cost=_cost(view.cost) if view.cost is not None else "",
        current=current,
        is_current=is_current,
        obstacle=_obstacle(caller, view),
        can_go_on=not is_last and version.number is not None and caller.may("run"),
    )


async def _view(parts: GatewayParts, request: Request, version: DraftVersion) -> DraftView:
    last = version.before.reply if version.before is not None else None
    body = DraftRequest(text=version.reply, last=last)
    answer = await ask_registry(parts, request, "POST", "/v1/drafts", json=body.model_dump())
    return DraftView.model_validate_json(answer.content)


async def _current(parts: GatewayParts, caller: Caller, view: DraftView) -> tuple[int | None, bool]:
    """The revision that the stack has of the workflow, and whether it is this document."""
    if view.name is None or not _is_for(caller, view.name):
        return None, False
    try:
        current = await parts.control.documents.current(view.name)
    except (UnknownWorkflow, InvalidDocument):
        return None, False
    loaded = await asyncio.to_thread(load_text, view.document or "", FILE)
    return current.revision, loaded.workflow is not None and loaded.workflow.digest == current.workflow.digest


def _is_for(caller: Caller, name: str) -> bool:
    return caller.workflows is None or name in caller.workflows


def _obstacle(caller: Caller, view: DraftView) -> str:
    if view.name is None or not view.valid:
        return ""
    if not caller.may("write"):
        return _NO_SCOPE
    return "" if _is_for(caller, view.name) else "Your key is for other workflows, and may not apply this one."


def _drawing(view: DraftView) -> GraphDrawing | None:
    """None: it isn't valid, or too large to be drawn small."""
    if not view.valid or view.document is None:
        return None
    workflow = load_text(view.document, FILE).workflow
    return draw(workflow) if workflow is not None and len(workflow.nodes) <= _MOST_DRAWN else None


def _lines(difference: str) -> Iterator[DiffLine]:
    """Without the two lines that name the texts."""
    kinds: dict[str, LineKind] = {"+": "added", "-": "gone", "@": "place"}
    for line in difference.split("\n")[2:]:
        yield DiffLine(kinds.get(line[:1], "same"), line)


def _cost(cost: DraftCost) -> str:
    calls = f", with at most {cost.calls} {'model call' if cost.calls == 1 else 'model calls'}" if cost.calls else ""
    if cost.usd is not None:
        return f"A run costs at most {money(Decimal(cost.usd))}{calls}: {cost.why}."
    replies = f" Its replies cost at most {money(Decimal(cost.replies_usd))}." if cost.replies_usd is not None else ""
    return f"What a run costs at most isn't known{calls}: {cost.why}.{replies}"
