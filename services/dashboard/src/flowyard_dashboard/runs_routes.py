"""The page with the list of runs."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from flowyard.runs.run import STATES, State
from flowyard.storage.run_lists import RunFilter
from flowyard.web.auth import check_workflow
from flowyard.web.pages.session_guard import keep_own, workflows_of
from flowyard.web.pages.templating import caller_of
from flowyard_dashboard.parts import InjectedParts
from flowyard_dashboard.run_list import MAX_RUNS, runs_view
from flowyard_dashboard.streaming import follow_list, stream
from flowyard_dashboard.view import View

NameOrNone: TypeAlias = Annotated[str, Query(max_length=128, pattern=r"^[^/\x00-\x1f\x7f]*$")]
StateOrNone: TypeAlias = Annotated[State | None, Query()]
_MAX_NAMES: Final = 500

router = APIRouter(include_in_schema=False, dependencies=keep_own("own"))


@router.get("/runs")
async def list_runs(
    parts: InjectedParts, request: Request, workflow: NameOrNone = "", status: str = "", before: UUID | None = None
) -> Response:
    state = _state(status)
    view, runs = await runs_view(parts, _filter(request, workflow, state, before), limit=MAX_RUNS)
    only = workflows_of(request)
    names = [listed.name for listed in await parts.workflows.page(limit=_MAX_NAMES, only=only)]
    query = {name: value for name, value in (("workflow", workflow), ("status", state)) if value}
    older = urlencode({**query, "before": str(runs[-1].id)}) if len(runs) == MAX_RUNS else None
    return parts.pages.page(
        request,
        "runs",
        view=view,
        names=[*names, *({workflow} - {*names, ""})],
        states=STATES,
        chosen={"workflow": workflow, "status": state},
        query=urlencode(query),
        older=older,
        is_newest=before is None,
        live=f"/runs/live?{urlencode({**query, 'seen': view.digest})}",
    )


@router.get("/runs/live")
async def live_runs(
    parts: InjectedParts, request: Request, workflow: NameOrNone = "", status: StateOrNone = None, seen: str = ""
) -> Response:
    wanted = _filter(request, workflow, status)

    async def make_view() -> View:
        return (await runs_view(parts, wanted))[0]

    return stream(parts, request, follow_list(parts, request, make_view, seen=seen))


def _filter(request: Request, workflow: str, status: State | None, before: UUID | None = None) -> RunFilter:
    """Raises NotForKey."""
    if (caller := caller_of(request)) is not None:
        check_workflow(caller, workflow or None)
    return RunFilter(
        workflow=workflow or None, workflows=workflows_of(request), statuses=[status] if status else (), before=before
    )


def _state(query: str) -> State | None:
    """The state with this name, or None, which means all: the form sends an empty name for that."""
    return next((state for state in STATES if state == query), None)
