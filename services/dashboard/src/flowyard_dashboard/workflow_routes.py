"""The list of workflows, one workflow, and its form."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from flowyard.api.workflows import WorkflowName
from flowyard.control.secret_inputs import box_for
from flowyard.control.submit import IdempotencyKey, Submission, new_run_id, submit_run
from flowyard.errors.requests import IdempotencyMismatch, InvalidDocument, InvalidInputs, QueueFull, TooLarge
from flowyard.errors.runs import SecretsNotConfigured
from flowyard.language.workflow import Workflow
from flowyard.storage.runs import RunFilter
from flowyard.telemetry.logs import bind_run
from flowyard_dashboard.form import Asked, empty_form, read_form
from flowyard_dashboard.forms import read
from flowyard_dashboard.graph.drawing import draw
from flowyard_dashboard.guard import may_run
from flowyard_dashboard.pages import caller_of
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.routing import InjectedParts
from flowyard_dashboard.run_list import look_at_runs
from flowyard_dashboard.streaming import follow_list, stream
from flowyard_dashboard.view import Rows, View

Name: TypeAlias = Annotated[WorkflowName, Path()]
Search: TypeAlias = Annotated[str, Query(alias="q", max_length=128, pattern=r"^[^\x00]*$")]
_MOST_WORKFLOWS: Final = 50
_MOST_RECENT: Final = 10

router = APIRouter(include_in_schema=False)


@router.get("/workflows")
async def list_workflows(parts: InjectedParts, request: Request, q: Search = "", after: str = "") -> Response:
    view, last = await _look(parts, q, after)
    more = urlencode({"q": q, "after": last}) if last else None
    live = f"/workflows/live?{urlencode({'q': q, 'after': after, 'seen': view.digest})}"
    return parts.pages.page(request, "workflows", view=view, q=q, more=more, is_first=not after, live=live)


@router.get("/workflows/live")
async def live_workflows(
    parts: InjectedParts, request: Request, q: Search = "", after: str = "", seen: str = ""
) -> Response:
    async def look() -> View:
        return (await _look(parts, q, after))[0]

    return stream(parts, follow_list(parts, request, look, seen=seen))


@router.get("/workflows/{name}")
async def one_workflow(parts: InjectedParts, request: Request, name: Name) -> Response:
    return await _page(parts, request, name)


@router.get("/workflows/{name}/live")
async def live_workflow(parts: InjectedParts, request: Request, name: Name, seen: str = "") -> Response:
    async def look() -> View:
        return (await look_at_runs(parts, RunFilter(workflow=name), most=_MOST_RECENT))[0]

    return stream(parts, follow_list(parts, request, look, seen=seen))


@router.post("/workflows/{name}/runs")
async def run_workflow(parts: InjectedParts, request: Request, name: Name) -> Response:
    may_run(request)
    return await _run(parts, request, name, await read(parts, request))


async def _look(parts: DashboardParts, search: str, after: str) -> tuple[View, str | None]:
    """The list, and the name after which it goes on."""
    after = after.replace("\0", "")
    found = await parts.workflows.page(after=after or None, search=search.strip() or None, limit=_MOST_WORKFLOWS)
    activity = await parts.overview.activity([listed.name for listed in found], now_ms=time.time_ns() // 1_000_000)
    rows = {
        (row := _row_id(listed.name)): parts.pages.part("workflow_row", row, listed, activity[listed.name])
        for listed in found
    }
    if not rows:
        rows["no-workflows"] = parts.pages.part("no_workflows", search)
    last = found[-1].name if len(found) == _MOST_WORKFLOWS else None
    return View(lists=[Rows("workflows", "tbody", "above", rows)]), last


def _row_id(name: str) -> str:
    """A name may hold what an id may not."""
    return f"workflow-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


async def _page(
    parts: DashboardParts,
    request: Request,
    name: str,
    *,
    asked: list[Asked] | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    listed, revision = await parts.workflows.get(name)
    view, _ = await look_at_runs(parts, RunFilter(workflow=name), most=_MOST_RECENT)
    workflow, refused = await _current(parts, name)
    values: dict[str, Any] = {}
    if workflow is not None:
        values = {"drawing": draw(workflow), "asked": asked if asked is not None else empty_form(workflow)}
    return parts.pages.page(
        request,
        "workflow",
        status=status,
        listed=listed,
        document=revision.document,
        workflow=workflow,
        refused=refused,
        problem=problem,
        view=view,
        once=secrets.token_urlsafe(12),
        live=f"/workflows/{quote(name, safe='')}/live?{urlencode({'seen': view.digest})}",
        **values,
    )


async def _current(parts: DashboardParts, name: str) -> tuple[Workflow | None, str]:
    """The workflow; None, and why, if this version of Flowyard refuses what an older one took."""
    try:
        return (await parts.control.documents.current(name)).workflow, ""
    except InvalidDocument as error:
        return None, error.message


async def _run(parts: DashboardParts, request: Request, name: str, typed: dict[str, str]) -> Response:
    current = await parts.control.documents.current(name)
    filled = read_form(current.workflow, typed)
    if not filled.is_valid:
        return await _page(parts, request, name, asked=list(filled.asked), status=422)
    try:
        idempotency = _idempotency(parts, request, typed, current.workflow, dict(filled.inputs))
        submission = Submission(workflow=name, inputs=filled.inputs, idempotency=idempotency)
        run_id, _ = await submit_run(parts.control, submission, run_id=new_run_id())
    except (QueueFull, TooLarge, IdempotencyMismatch, InvalidInputs, SecretsNotConfigured) as error:
        return await _page(parts, request, name, asked=list(filled.asked), problem=error.message, status=error.status)
    bind_run(run_id)
    return RedirectResponse(f"/runs/{run_id}", 303)


def _idempotency(
    parts: DashboardParts, request: Request, typed: dict[str, str], workflow: Workflow, inputs: dict[str, Any]
) -> IdempotencyKey | None:
    """A form that is sent twice, by two clicks, leads to one run; sent with other inputs, to another."""
    caller, once = caller_of(request), typed.get("once", "")
    if caller is None or not once:
        return None
    content = json.dumps([once, inputs], sort_keys=True).encode()
    # The key is stored: of secrets, nothing may be that could be guessed at.
    mark = box_for(parts.control, workflow).marks(content)[0] if workflow.secrets else hashlib.sha256(content).digest()
    return IdempotencyKey(caller.key_id, f"dashboard-{mark.hex()}", inputs)
