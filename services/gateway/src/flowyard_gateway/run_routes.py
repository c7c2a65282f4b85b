"""The routes that submit, fork, cancel and retry runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from flowyard.access import Actor, Caller
from flowyard.api.runs import CancelledRuns, CancelRequest, ForkPreview, ForkRequest, RunRequest, RunView
from flowyard.api.workflows import WorkflowName
from flowyard.control.cancel import cancel_run, cancel_runs
from flowyard.control.fork import ForkOrder, Point, fork_run, preview_fork
from flowyard.control.retry import retry_run
from flowyard.control.submit import IdempotencyKey, Submission, new_run_id
from flowyard.errors.requests import (
    IdempotencyMismatch,
    IllegalMove,
    InvalidDocument,
    InvalidInputs,
    InvalidRequest,
    QueueFull,
    TooLarge,
    UnknownRevision,
    UnknownRun,
    UnknownStep,
    UnknownWorkflow,
)
from flowyard.errors.runs import SecretsNotConfigured
from flowyard.errors.webhooks import MissingWebhookSecret
from flowyard.language.on_finish import Receiver
from flowyard.notify.secrets import NO_SECRET
from flowyard.runs.run import Run
from flowyard.storage.run_lists import RunFilter
from flowyard.web.auth import RUN, Acting, actor_of, check_workflow, require
from flowyard.web.problems import guarded, guarded_responses
from flowyard.web.requests import leave_to_run
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.answers import answer, answer_run
from flowyard_gateway.parts import GatewayParts, InjectedParts, RunId
from flowyard_gateway.submitting import submit_and_wait

MayRun: TypeAlias = Annotated[Caller, Depends(require("run"))]
Own: TypeAlias = Annotated[Caller, Depends(require("run", reach="own"))]
Key: TypeAlias = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Requests with the same key and the same body make one run, however often they are sent",
    ),
]
Wait: TypeAlias = Annotated[
    float, Query(ge=0, le=300, description="Seconds to wait for the end of the run. It goes on in any case.")
]
_LOCATION: Final = {"Location": {"description": "The path of the run", "schema": {"type": "string"}}}

router = APIRouter(prefix="/v1", tags=["runs"], route_class=StrictJsonRoute)


@router.post(
    "/workflows/{name}/runs",
    name="submit_run",
    summary="Run a workflow",
    description="The run is stored before the response. With `wait`, the response waits for its end, or is 202.",
    response_model=RunView,
    responses={
        200: {"description": "The run has ended, or the same request came before", "headers": _LOCATION},
        202: {"model": RunView, "description": "The run is still open", "headers": _LOCATION},
        **guarded_responses(
            UnknownWorkflow,
            InvalidInputs,
            InvalidDocument,
            IdempotencyMismatch,
            TooLarge,
            QueueFull,
            SecretsNotConfigured,
            MissingWebhookSecret,
        ),
    },
)
async def submit(  # noqa: PLR0917  # FastAPI passes them by name
    http: Request,
    parts: InjectedParts,
    name: Annotated[WorkflowName, Path(description="The workflow's name")],
    request: RunRequest,
    caller: MayRun,
    key: Key = None,
    wait: Wait = 0.0,
) -> Response:
    submission = Submission(
        workflow=name,
        inputs=request.inputs,
        priority=request.priority,
        stream=request.stream,
        on_finish=_receivers(parts, request) if request.on_finish else (),
        idempotency=_idempotency(caller, key, {"run": name, **request.model_dump(exclude={"stream"})}),
        by=actor_of(http),
    )
    run, is_new = await submit_and_wait(parts, submission, wait_s=wait)
    leave_to_run(http.scope, waited_s=wait)
    return _run(run, 202 if is_new and run.is_open else 200)


@router.post(
    "/runs/{run_id}/fork",
    summary="Fork a run",
    description=(
        "Makes a new run. With `from`, it keeps the steps that its origin had finished before that step, changes"
        " `state`, and goes on from there. With `inputs` or `revision`, it keeps every step that would do the same"
        " again: the same work, with the same values of all that it reads, after steps that are kept. With none of"
        " these, it starts over."
    ),
    status_code=202,
    response_model=RunView,
    responses={
        200: {"model": RunView, "description": "The same request came before", "headers": _LOCATION},
        202: {"description": "The fork is queued", "headers": _LOCATION},
        **guarded_responses(
            UnknownRun,
            UnknownStep,
            UnknownWorkflow,
            UnknownRevision,
            InvalidInputs,
            InvalidRequest,
            InvalidDocument,
            IdempotencyMismatch,
            TooLarge,
            QueueFull,
            SecretsNotConfigured,
        ),
    },
)
async def fork(  # FastAPI passes them by name
    parts: InjectedParts, run_id: RunId, request: ForkRequest, caller: MayRun, by: Acting, key: Key = None
) -> Response:
    idempotency = _idempotency(caller, key, {"fork": str(run_id), **request.model_dump()})
    order = replace(_fork_order(run_id, request, idempotency), by=by)
    fork_id, is_new = await fork_run(parts.control, order, run_id=new_run_id())
    return _run(await parts.control.runs.get(fork_id), 202 if is_new else 200)


@router.post(
    "/runs/{run_id}/fork/preview",
    summary="Preview a fork",
    description="Says what a fork without `from` would keep, and where it would leave its origin. Nothing is started.",
    response_model=ForkPreview,
    **guarded(
        RUN, UnknownRun, UnknownWorkflow, UnknownRevision, InvalidInputs, InvalidRequest, InvalidDocument, TooLarge
    ),
)
async def preview(parts: InjectedParts, run_id: RunId, request: ForkRequest) -> Response:
    if request.point is not None:
        message = "a fork from a step keeps what had ended before that step: there is nothing to preview"
        raise InvalidRequest([{"where": "body.from", "message": message}])
    result = await preview_fork(parts.control, _fork_order(run_id, request, None))
    kept = [str(step.id) for step in result.kept if step.kind == "step"]
    return answer(ForkPreview(kept=kept, leaves_at=[str(step) for step in result.leaves_at]))


@router.post(
    "/runs/cancel",
    summary="Cancel many runs",
    description="The open runs that meet all conditions of the request.",
    response_model=CancelledRuns,
    responses=guarded_responses(InvalidRequest),
)
async def cancel_many(parts: InjectedParts, request: CancelRequest, caller: Own, by: Acting) -> Response:
    return answer(await _cancel_many(parts, request, caller, by))


@router.post(
    "/runs/{run_id}/cancel",
    summary="Cancel a run",
    description="A run without an executor is cancelled at once; another is cancelled by its executor.",
    response_model=RunView,
    dependencies=RUN,
    responses={
        200: {"description": "It is cancelled"},
        202: {"model": RunView, "description": "Its executor will cancel it within a moment"},
        **guarded_responses(UnknownRun, IllegalMove),
    },
)
async def cancel(parts: InjectedParts, run_id: RunId, by: Acting) -> Response:
    run = await cancel_run(parts.control, run_id, by=by)
    return _run(run, 202 if run.is_open else 200)


@router.post(
    "/runs/{run_id}/retry",
    summary="Retry a failed run",
    description="It goes on from the step that failed. Steps that have succeeded aren't executed again.",
    status_code=202,
    response_model=RunView,
    **guarded(RUN, UnknownRun, IllegalMove),
)
async def retry(parts: InjectedParts, run_id: RunId, by: Acting) -> Response:
    return _run(await retry_run(parts.control, run_id, by=by), 202)


def _receivers(parts: GatewayParts, request: RunRequest) -> tuple[Receiver, ...]:
    """Raises MissingWebhookSecret."""
    if not parts.settings.webhook_secret.get_secret_value():
        raise MissingWebhookSecret(NO_SECRET)
    return tuple(each.receiver for each in request.on_finish or ())


def _idempotency(caller: Caller, key: str | None, request: dict[str, Any]) -> IdempotencyKey | None:
    return IdempotencyKey(caller.key_id, key, request) if key is not None else None


def _run(run: Run, status: int) -> Response:
    return answer_run(run, status, {"location": f"/v1/runs/{run.id}"})


def _fork_order(run_id: UUID, request: ForkRequest, idempotency: IdempotencyKey | None) -> ForkOrder:
    if request.point is None and request.state:
        raise InvalidRequest([{"where": "body.state", "message": "needs `from`: the step before which it is changed"}])
    if request.point is not None and request.inputs:
        message = "earlier steps have read them: change fields with `state`, or start over without `from`"
        raise InvalidRequest([{"where": "body.inputs", "message": message}])
    if request.point is not None and request.revision is not None:
        message = "a fork from a step keeps its origin's revision: leave out `from` to keep what fits another one"
        raise InvalidRequest([{"where": "body.revision", "message": message}])
    point = Point(request.point.node, request.point.visit, request.state) if request.point is not None else None
    return ForkOrder(
        origin=run_id, point=point, revision=request.revision, inputs=request.inputs, idempotency=idempotency
    )


async def _cancel_many(parts: GatewayParts, request: CancelRequest, caller: Caller, by: Actor) -> CancelledRuns:
    if request.ids is not None and (request.workflow is not None or request.status is not None):
        raise InvalidRequest([{"where": "body.ids", "message": "can't be combined with `workflow` and `status`"}])
    if request.ids is None and request.workflow is None and request.status is None:
        raise InvalidRequest([{"where": "body", "message": "needs `ids`, `workflow` or `status`"}])
    check_workflow(caller, request.workflow)
    wanted = RunFilter(
        workflow=request.workflow, workflows=caller.workflows, statuses=request.status or (), before=request.cursor
    )
    done = await cancel_runs(parts.control, wanted, ids=request.ids, by=by)
    return CancelledRuns(
        count=len(done.run_ids),
        run_ids=list(done.run_ids),
        skipped={str(run_id): code for run_id, code in done.skipped.items()},
        next_cursor=done.more,
    )
