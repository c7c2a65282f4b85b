"""The pages with the list of workflows, and with one workflow and its form."""

from __future__ import annotations

import asyncio
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
from flowyard.storage.run_lists import RunFilter
from flowyard.telemetry.logs import bind_run
from flowyard.web.auth import actor_of
from flowyard.web.pages.entrance import read_form_body
from flowyard.web.pages.graph.drawing import draw
from flowyard.web.pages.session_guard import keep_own, require_run, workflows_of
from flowyard.web.pages.templating import caller_of
from flowyard_dashboard.inputs_form import InputControl, empty_form, read_form
from flowyard_dashboard.parts import DashboardParts, InjectedParts
from flowyard_dashboard.run_list import runs_view
from flowyard_dashboard.schedules import schedules_of
from flowyard_dashboard.streaming import follow_list, stream
from flowyard_dashboard.view import Rows, View

Name: TypeAlias = Annotated[WorkflowName, Path()]
Search: TypeAlias = Annotated[str, Query(alias="q", max_length=128, pattern=r"^[^\x00]*$")]
_MAX_WORKFLOWS: Final = 50
_MAX_RECENT: Final = 10
_LONG: Final = 64 * 1024
"""Characters of a form that is read in a thread: that would hold the event loop."""

router = APIRouter(include_in_schema=False, dependencies=keep_own("own"))


@router.get("/workflows")
async def list_workflows(parts: InjectedParts, request: Request, q: Search = "", after: str = "") -> Response:
    view, last = await _list_view(parts, q, after, workflows_of(request))
    more = urlencode({"q": q, "after": last}) if last else None
    live = f"/workflows/live?{urlencode({'q': q, 'after': after, 'seen': view.digest})}"
    return parts.pages.page(request, "workflows", view=view, q=q, more=more, is_first=not after, live=live)


@router.get("/workflows/live")
async def live_workflows(
    parts: InjectedParts, request: Request, q: Search = "", after: str = "", seen: str = ""
) -> Response:
    async def make_view() -> View:
        return (await _list_view(parts, q, after, workflows_of(request)))[0]

    return stream(parts, request, follow_list(parts, request, make_view, seen=seen))


@router.get("/workflows/{name}")
async def workflow_page(parts: InjectedParts, request: Request, name: Name) -> Response:
    return await _page(parts, request, name)


@router.get("/workflows/{name}/live")
async def live_workflow(parts: InjectedParts, request: Request, name: Name, seen: str = "") -> Response:
    async def make_view() -> View:
        return (await runs_view(parts, RunFilter(workflow=name), limit=_MAX_RECENT))[0]

    return stream(parts, request, follow_list(parts, request, make_view, seen=seen))


@router.post("/workflows/{name}/runs")
async def run_workflow(parts: InjectedParts, request: Request, name: Name) -> Response:
    require_run(request)
    return await _run(parts, request, name, await read_form_body(request, most_bytes=parts.settings.form_limit))


async def _list_view(
    parts: DashboardParts, search: str, after: str, only: frozenset[str] | None
) -> tuple[View, str | None]:
    """The view of a page of the list, and the name after which the next page begins.

    `only`: as `Workflows.page` takes it.
    """
    after = after.replace("\0", "")
    workflows = await parts.workflows.page(
        after=after or None, search=search.strip() or None, limit=_MAX_WORKFLOWS, only=only
    )
    activity = await parts.overview.activity([listed.name for listed in workflows], now_ms=time.time_ns() // 1_000_000)
    rows = {
        (row := _row_id(listed.name)): parts.pages.part("workflow_row", row, listed, activity[listed.name])
        for listed in workflows
    }
    if not rows:
        rows["no-workflows"] = parts.pages.part("no_workflows", search)
    last = workflows[-1].name if len(workflows) == _MAX_WORKFLOWS else None
    return View(lists=[Rows("workflows", "tbody", "above", rows)]), last


def _row_id(name: str) -> str:
    """An element's id for a name, which may contain characters that aren't allowed in an id."""
    return f"workflow-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


async def _page(
    parts: DashboardParts,
    request: Request,
    name: str,
    *,
    controls: list[InputControl] | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    listed, revision = await parts.workflows.get(name)
    view, _ = await runs_view(parts, RunFilter(workflow=name), limit=_MAX_RECENT)
    workflow, refused = await _current(parts, name)
    values: dict[str, Any] = {}
    if workflow is not None:
        drawing = await asyncio.to_thread(draw, workflow)
        values = {"drawing": drawing, "controls": controls if controls is not None else empty_form(workflow)}
    return parts.pages.page(
        request,
        "workflow",
        status=status,
        listed=listed,
        document=revision.document,
        workflow=workflow,
        refused=refused,
        problem=problem,
        schedules=await schedules_of(parts, name),
        view=view,
        once=secrets.token_urlsafe(12),
        live=f"/workflows/{quote(name, safe='')}/live?{urlencode({'seen': view.digest})}",
        **values,
    )


async def _current(parts: DashboardParts, name: str) -> tuple[Workflow | None, str]:
    """The workflow; None, and why, if this version of Flowyard refuses a document that an older version accepted."""
    try:
        return (await parts.control.documents.current(name)).workflow, ""
    except InvalidDocument as error:
        return None, error.message


async def _run(parts: DashboardParts, request: Request, name: str, texts: dict[str, str]) -> Response:
    current = await parts.control.documents.current(name)
    is_long = sum(map(len, texts.values())) > _LONG
    filled = (
        await asyncio.to_thread(read_form, current.workflow, texts) if is_long else read_form(current.workflow, texts)
    )
    if not filled.is_valid:
        return await _page(parts, request, name, controls=list(filled.controls), status=422)
    try:
        idempotency = _idempotency(parts, request, texts, current.workflow, dict(filled.inputs))
        by = actor_of(request)
        submission = Submission(workflow=name, inputs=filled.inputs, idempotency=idempotency, stream=True, by=by)
        run_id, _ = await submit_run(parts.control, submission, run_id=new_run_id())
    except (QueueFull, TooLarge, IdempotencyMismatch, InvalidInputs, SecretsNotConfigured) as error:
        controls = list(filled.controls)
        return await _page(parts, request, name, controls=controls, problem=error.message, status=error.status)
    bind_run(run_id)
    return RedirectResponse(f"/runs/{run_id}", 303)


def _idempotency(
    parts: DashboardParts, request: Request, texts: dict[str, str], workflow: Workflow, inputs: dict[str, Any]
) -> IdempotencyKey | None:
    """Two clicks on the same form start one run; with other inputs, they start another run."""
    caller, once = caller_of(request), texts.get("once", "")
    if caller is None or not once:
        return None
    content = json.dumps([once, inputs], sort_keys=True).encode()
    # The key is stored, so a plain hash of secrets, which could be guessed, must not be part of it.
    marks = box_for(parts.control, workflow).marks(content) if workflow.secrets else [hashlib.sha256(content).digest()]
    return IdempotencyKey(caller.key_id, f"dashboard-{marks[0].hex()}", inputs)
