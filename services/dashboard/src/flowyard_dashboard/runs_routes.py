"""The list of all runs."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from flowyard.runs.run import STATES, State
from flowyard.storage.runs import RunFilter
from flowyard_dashboard.routing import InjectedParts
from flowyard_dashboard.run_list import MOST_RUNS, look_at_runs
from flowyard_dashboard.streaming import follow_list, stream
from flowyard_dashboard.view import View

NameOrNone: TypeAlias = Annotated[str, Query(max_length=128, pattern=r"^[^/\x00-\x1f\x7f]*$")]
StateOrNone: TypeAlias = Annotated[State | None, Query()]
_MOST_NAMES: Final = 500


router = APIRouter(include_in_schema=False)


@router.get("/runs")
async def list_runs(
    parts: InjectedParts, request: Request, workflow: NameOrNone = "", status: str = "", before: UUID | None = None
) -> Response:
    state = _state(status)
    view, runs = await look_at_runs(parts, _wanted(workflow, state, before), most=MOST_RUNS)
    names = [listed.name for listed in await parts.workflows.page(limit=_MOST_NAMES)]
    asked = {name: value for name, value in (("workflow", workflow), ("status", state)) if value}
    older = urlencode({**asked, "before": str(runs[-1].id)}) if len(runs) == MOST_RUNS else None
    return parts.pages.page(
        request,
        "runs",
        view=view,
        names=[*names, *({workflow} - {*names, ""})],
        states=STATES,
        chosen={"workflow": workflow, "status": state},
        asked=urlencode(asked),
        older=older,
        is_newest=before is None,
        live=f"/runs/live?{urlencode({**asked, 'seen': view.digest})}",
    )


@router.get("/runs/live")
async def live_runs(
    parts: InjectedParts, request: Request, workflow: NameOrNone = "", status: StateOrNone = None, seen: str = ""
) -> Response:
    async def look() -> View:
        return (await look_at_runs(parts, _wanted(workflow, status)))[0]

    return stream(parts, follow_list(parts, request, look, seen=seen))


def _wanted(workflow: str, status: State | None, before: UUID | None = None) -> RunFilter:
    return RunFilter(workflow=workflow or None, statuses=[status] if status else (), before=before)


def _state(asked: str) -> State | None:
    """Whatever isn't one is all of them: a form sends an empty one."""
    return next((state for state in STATES if state == asked), None)
