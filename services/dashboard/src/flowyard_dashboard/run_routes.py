"""The routes of one run: its page, its stream, and its actions."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from html import escape
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, HTTPException, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from flowyard.control.cancel import cancel_run
from flowyard.control.fork import ForkOrder, Point, fork_run, preview_fork
from flowyard.control.retry import retry_run
from flowyard.control.submit import new_run_id
from flowyard.errors.requests import (
    InvalidDocument,
    InvalidInputs,
    InvalidRequest,
    QueueFull,
    TooLarge,
    UnknownStep,
    UnknownWorkflow,
)
from flowyard.errors.runs import SecretsNotConfigured
from flowyard.graph.fit import Fit
from flowyard.language.workflow import START
from flowyard.large_json import loads
from flowyard.runs.events import StepId
from flowyard.secrets.masking import MASK
from flowyard.storage.history import MAX_SEQ
from flowyard.web.auth import actor_of
from flowyard.web.pages.entrance import read_form_body
from flowyard.web.pages.session_guard import can_run, keep_own, require_run
from flowyard.web.pages.templating import html
from flowyard_dashboard.inputs_form import read_json
from flowyard_dashboard.pages import display
from flowyard_dashboard.parts import DashboardParts, InjectedParts
from flowyard_dashboard.run_details import RunDetails, read_details
from flowyard_dashboard.run_stream import NO_TEXTS, follow_run
from flowyard_dashboard.run_view import view_of
from flowyard_dashboard.streaming import stream

_NEWEST: Final = "revision:latest"
"""In the form: run again by the newest revision."""
_FORK_ERRORS: Final = (
    InvalidDocument, InvalidInputs, InvalidRequest, QueueFull, SecretsNotConfigured, TooLarge, UnknownStep,
    UnknownWorkflow,
)  # fmt: skip

router = APIRouter(include_in_schema=False, dependencies=keep_own())


@router.get("/runs/{run_id}")
async def run_page(parts: InjectedParts, request: Request, run_id: UUID, fork: str = "") -> Response:
    return await _page(parts, request, run_id, fork=fork)


@router.get("/runs/{run_id}/live")
async def live_run(parts: InjectedParts, request: Request, run_id: UUID, seen: str = "") -> Response:
    await parts.control.runs.get(run_id)
    return stream(parts, request, follow_run(parts, request, run_id, seen=seen))


@router.get("/runs/{run_id}/calls/{seq}")
async def call_texts(parts: InjectedParts, run_id: UUID, seq: Annotated[int, Path(ge=1, le=MAX_SEQ)]) -> Response:
    """The prompt and the reply of a call, as a part of the run's page."""
    texts = (await parts.control.history.texts(run_id, after=seq - 1, to=seq)).get(seq)
    if texts is None:
        raise HTTPException(404)
    return html(parts.pages.part("call_texts", texts))


@router.get("/runs/{run_id}/outputs")
async def large_outputs(
    parts: InjectedParts,
    run_id: UUID,
    name: str | None = None,
    node: str | None = None,
    visit: Annotated[int, Query(ge=1, le=MAX_SEQ)] = 1,
    item: Annotated[int | None, Query(ge=0, le=MAX_SEQ)] = None,
) -> Response:
    """Outputs of the run or of a step that are too large for the run's page, as a part of it."""
    step = StepId(node, visit, item) if node is not None else None
    async with parts.large_answers.turn():
        text = await parts.control.runs.large_outputs.value(run_id, name, step)
        return html(await asyncio.to_thread(_shown, parts, text, is_whole=name is None))


@router.post("/runs/{run_id}/cancel")
async def cancel(parts: InjectedParts, request: Request, run_id: UUID) -> Response:
    require_run(request)
    await cancel_run(parts.control, run_id, by=actor_of(request))
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/retry")
async def retry(parts: InjectedParts, request: Request, run_id: UUID) -> Response:
    require_run(request)
    await retry_run(parts.control, run_id, by=actor_of(request))
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/fork")
async def fork(parts: InjectedParts, request: Request, run_id: UUID) -> Response:
    require_run(request)
    form = await read_form_body(request, most_bytes=parts.settings.form_limit)
    start, changes = form.get("from", START), form.get("changes", "")
    return await _fork(parts, request, run_id, start, changes, preview="preview" in form)


async def _page(
    parts: DashboardParts,
    request: Request,
    run_id: UUID,
    *,
    fork: str = "",
    changes: str = "",
    problem: str | None = None,
    preview: Fit | None = None,
    status: int = 200,
) -> Response:
    details = await read_details(parts, run_id)
    changes = _without_secrets(details, changes)
    view = await asyncio.to_thread(view_of, parts.pages, details, can_run=can_run(request))
    return parts.pages.page(
        request,
        "run",
        status=status,
        run=details.run,
        view=view,
        texts=NO_TEXTS,
        live=f"/runs/{run_id}/live?seen={view.digest}" if details.run.is_open else None,
        hidden_steps=len(details.steps) - len(details.shown_steps),
        hidden_calls=len(details.calls) - len(details.shown_calls),
        fork={"points": _points(details), "chosen": fork, "changes": changes, "problem": problem, "preview": preview},
    )


def _shown(parts: DashboardParts, text: bytes, *, is_whole: bool) -> str:
    value = loads(text.decode())
    # Cut before it is rendered.
    return parts.pages.part("values", {n: display(v) for n, v in value.items()}, "") if is_whole else _pre(value)


def _pre(value: Any) -> str:
    return f'<pre tabindex="0">{escape(display(value))}</pre>'


def _without_secrets(details: RunDetails, typed: str) -> str:
    """The changes as they were typed, to show them again, but with `null` for a new secret.

    A fork refuses `null`, so the user must type the secret again; `***` would mean the old secret.
    """
    secrets = details.workflow.secrets if details.workflow is not None else frozenset()
    if not secrets or not typed.strip():
        return typed
    try:
        changes = read_json(typed)
    except ValueError:
        return ""
    if not isinstance(changes, dict) or not changes.keys() & secrets:
        return typed
    shown = {name: None if name in secrets and value != MASK else value for name, value in changes.items()}
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _points(details: RunDetails) -> list[tuple[str, str]]:
    """The steps at which a fork can begin: their values in the form, and their labels."""
    workflow = details.workflow
    if workflow is None:
        return []
    started = [(step.node, step.visit) for step in details.steps if step.item is None]
    points = [(node, visit) for node, visit in dict.fromkeys(started) if node not in workflow.maps]
    labels = [(f"{n}:{v}", f"before {n}" + (f", visit {v}" if v > 1 else "")) for n, v in points]
    again = [(START, "before what changed inputs concern"), (_NEWEST, "before what the newest revision concerns")]
    return [*again, *labels]


async def _fork(
    parts: DashboardParts, request: Request, run_id: UUID, start: str, changes: str, *, preview: bool
) -> Response:
    try:
        order = replace(_order(run_id, start, _changes(changes)), by=actor_of(request))
        if preview and order.point is None:
            fit = await preview_fork(parts.control, order)
            return await _page(parts, request, run_id, fork=start, changes=changes, preview=fit)
        forked, _ = await fork_run(parts.control, order, run_id=new_run_id())
    except ValueError as error:
        return await _page(parts, request, run_id, fork=start, changes=changes, problem=str(error), status=422)
    except _FORK_ERRORS as error:
        # Without the names of the API's fields.
        problems = [problem["message"] for problem in error.problems] if isinstance(error, InvalidRequest) else []
        message = "; ".join(problems) or error.message
        return await _page(parts, request, run_id, fork=start, changes=changes, problem=message, status=error.status)
    return RedirectResponse(f"/runs/{forked}", 303)


def _changes(text: str) -> dict[str, Any]:
    """The changed fields from the form. Raises ValueError with a sentence for the user."""
    changes = read_json(text) if text.strip() else {}
    if not isinstance(changes, dict):
        raise ValueError('Give the changed fields as a JSON object: {"name": value}.')  # noqa: TRY004  # what was typed
    return changes


def _order(run_id: UUID, start: str, changes: dict[str, Any]) -> ForkOrder:
    """`start`: START, _NEWEST or `node:visit`. Raises ValueError with a sentence for the user."""
    if start in (START, _NEWEST):
        return ForkOrder(origin=run_id, inputs=changes, revision="latest" if start == _NEWEST else None)
    node, _, visit = start.rpartition(":")
    if not node or not visit.isascii() or not visit.isdigit() or len(visit) > 9:
        raise ValueError("Choose the step before which the fork begins.")
    return ForkOrder(origin=run_id, point=Point(node, int(visit), changes))
