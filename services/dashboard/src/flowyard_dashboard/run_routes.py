"""One run: its page, its stream, and what can be done with it."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from flowyard.control.cancel import cancel_run
from flowyard.control.fork import ForkOrder, Point, fork_run
from flowyard.control.retry import retry_run
from flowyard.control.submit import new_run_id
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs, InvalidRequest, QueueFull, TooLarge, UnknownStep, UnknownWorkflow
from flowyard.errors.runs import SecretsNotConfigured
from flowyard.language.workflow import START
from flowyard.secrets.masking import MASK
from flowyard_dashboard.form import read_json
from flowyard_dashboard.forms import read
from flowyard_dashboard.guard import may_run, may_run_here
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.picture import Picture, take_picture
from flowyard_dashboard.routing import InjectedParts
from flowyard_dashboard.run_stream import NO_TEXTS, follow_run
from flowyard_dashboard.run_view import view_of
from flowyard_dashboard.streaming import stream

_FORK_FAILS: Final = (
    InvalidInputs,
    InvalidRequest,
    QueueFull,
    SecretsNotConfigured,
    TooLarge,
    UnknownStep,
    UnknownWorkflow,
)


router = APIRouter(include_in_schema=False)


@router.get("/runs/{run_id}")
async def one_run(parts: InjectedParts, request: Request, run_id: UUID, fork: str = "") -> Response:
    return await _page(parts, request, run_id, fork=fork)


@router.get("/runs/{run_id}/live")
async def live_run(parts: InjectedParts, request: Request, run_id: UUID, seen: str = "") -> Response:
    await parts.control.runs.get(run_id)
    return stream(parts, follow_run(parts, request, run_id, seen=seen))


@router.post("/runs/{run_id}/cancel")
async def cancel(parts: InjectedParts, request: Request, run_id: UUID) -> Response:
    may_run(request)
    await cancel_run(parts.control, run_id)
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/retry")
async def retry(parts: InjectedParts, request: Request, run_id: UUID) -> Response:
    may_run(request)
    await retry_run(parts.control, run_id)
    return RedirectResponse(f"/runs/{run_id}", 303)


@router.post("/runs/{run_id}/fork")
async def fork(parts: InjectedParts, request: Request, run_id: UUID) -> Response:
    may_run(request)
    form = await read(parts, request)
    return await _fork(parts, request, run_id, form.get("from", START), form.get("changes", ""))


async def _page(
    parts: DashboardParts,
    request: Request,
    run_id: UUID,
    *,
    fork: str = "",
    changes: str = "",
    problem: str | None = None,
    status: int = 200,
) -> Response:
    picture = await take_picture(parts, run_id)
    changes = _without_secrets(picture, changes)
    view = view_of(parts.pages, picture, may_run=may_run_here(request))
    return parts.pages.page(
        request,
        "run",
        status=status,
        run=picture.run,
        view=view,
        texts=NO_TEXTS,
        live=f"/runs/{run_id}/live?seen={view.digest}" if picture.run.is_open else None,
        hidden_steps=len(picture.steps) - len(picture.steps_shown),
        hidden_calls=len(picture.calls) - len(picture.calls_shown),
        fork={"points": _points(picture), "chosen": fork, "changes": changes, "problem": problem},
    )


def _without_secrets(picture: Picture, typed: str) -> str:
    """What was typed, to be shown again. A new secret is not, and `null` is refused: it has to be typed once more.

    `***` would be the old one.
    """
    secrets = picture.workflow.secrets if picture.workflow is not None else frozenset()
    if not secrets or not typed.strip():
        return typed
    try:
        changes = read_json(typed)
    except ValueError:
        return ""
    if not isinstance(changes, dict) or not changes.keys() & secrets:
        return typed
    return json.dumps(
        {name: None if name in secrets and value != MASK else value for name, value in changes.items()},
        indent=2,
        ensure_ascii=False,
    )


def _points(picture: Picture) -> list[tuple[str, str]]:
    """Where a fork can begin: what the form sends, and what it shows."""
    workflow = picture.workflow
    if workflow is None:
        return []
    begun = [(step.node, step.visit) for step in picture.steps if step.item is None]
    begun += [(one.id.node, one.id.visit) for one in picture.at_work if one.id.item is None]
    wanted = [(node, visit) for node, visit in dict.fromkeys(begun) if node not in workflow.maps]
    return [
        (START, "the start, with changed inputs"),
        *((f"{n}:{v}", f"before {n}" + (f", visit {v}" if v > 1 else "")) for n, v in wanted),
    ]


async def _fork(parts: DashboardParts, request: Request, run_id: UUID, start: str, changes: str) -> Response:
    try:
        order = _order(run_id, start, _changes(changes))
        forked, _ = await fork_run(parts.control, order, run_id=new_run_id())
    except ValueError as error:
        return await _page(parts, request, run_id, fork=start, changes=changes, problem=str(error), status=422)
    except _FORK_FAILS as error:
        told = _told(error)
        return await _page(parts, request, run_id, fork=start, changes=changes, problem=told, status=error.status)
    return RedirectResponse(f"/runs/{forked}", 303)


def _changes(text: str) -> dict[str, Any]:
    """Raises ValueError."""
    changes = read_json(text) if text.strip() else {}
    if not isinstance(changes, dict):
        raise ValueError('Give the changed fields as a JSON object: {"name": value}.')  # noqa: TRY004  # what was typed
    return changes


def _order(run_id: UUID, start: str, changes: dict[str, Any]) -> ForkOrder:
    """Raises ValueError."""
    if start == START:
        return ForkOrder(origin=run_id, inputs=changes)
    node, _, visit = start.rpartition(":")
    if not node or not visit.isascii() or not visit.isdigit() or len(visit) > 9:
        raise ValueError("Choose the step before which the fork begins.")
    return ForkOrder(origin=run_id, point=Point(node, int(visit), changes))


def _told(error: FlowyardError) -> str:
    """Without the words for programs, where there are others."""
    if isinstance(error, InvalidRequest):
        return "; ".join(problem["message"] for problem in error.problems)
    return error.message
