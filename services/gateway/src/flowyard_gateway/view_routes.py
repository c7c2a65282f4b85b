"""The routes that show runs and their events, steps and calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime

from flowyard.api import run_examples as examples
from flowyard.api.history import CallList, CallView, EventPage, EventView, Seq, StepList, StepView
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.api.runs import RunListItem, RunPage, RunView, money
from flowyard.api.workflows import WorkflowName
from flowyard.errors.requests import UnknownRun
from flowyard.runs.run import State
from flowyard.storage.rows import CallRow
from flowyard.storage.runs import RunFilter
from flowyard.web.auth import READ
from flowyard.web.problems import guarded_responses
from flowyard.web.sse import EventStream
from flowyard_gateway.answers import answer, as_json
from flowyard_gateway.routing import InjectedParts, RunId
from flowyard_gateway.streaming import stream_events

_STREAM: Final = "text/event-stream"
_STREAMED: Final = (
    f"id: {examples.EVENT['seq']}\nevent: {examples.EVENT['type']}\ndata: {as_json(examples.EVENT)}\n\n"
    f"event: token\ndata: {as_json(examples.TOKEN)}\n\n"
)
_EVENTS: Final = """\
As JSON, a page of them. With `Accept: text/event-stream`, all of them and those to come, up to the run's end:
`event` is the type, `id` the number, `data` the event as JSON. Pieces of models' replies come between them as they are
made, as `event: token` without an id. A client that reconnects sends the number of its last event as `Last-Event-ID`;
if the run has ended and the client has all events, the answer is 204."""

After: TypeAlias = Annotated[Seq, Query(description="Only events with a greater number")]
Time: TypeAlias = Annotated[AwareDatetime | None, Query(description="With a time zone: `2026-11-23T00:00:00Z`")]

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("", summary="Runs, newest first", response_model=RunPage, dependencies=READ, responses=guarded_responses())
async def list_runs(
    parts: InjectedParts,
    *,
    workflow: Annotated[WorkflowName | None, Query()] = None,
    status: Annotated[list[State], Query(max_length=6, description="May be given several times")] = [],  # noqa: B006
    created_from: Time = None,
    created_to: Time = None,
    forked_from: Annotated[UUID | None, Query(description="Only forks of this run")] = None,
    cursor: Annotated[UUID | None, Query(description="The `next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="The most that one page holds")] = DEFAULT_LIMIT,
) -> Response:
    wanted = RunFilter(
        workflow=workflow,
        statuses=status,
        created_from=_utc(created_from),
        created_to=_utc(created_to),
        forked_from=forked_from,
        before=cursor,
    )
    runs = await parts.control.runs.page(wanted, limit + 1)
    more = str(runs[limit - 1].id) if len(runs) > limit else None
    return answer(RunPage(items=[RunListItem.of(run) for run in runs[:limit]], next_cursor=more))


@router.get(
    "/{run_id}", summary="A run", response_model=RunView, dependencies=READ, responses=guarded_responses(UnknownRun)
)
async def get_run(parts: InjectedParts, run_id: RunId) -> Response:
    return answer(RunView.of(await parts.control.runs.get(run_id)))


@router.get(
    "/{run_id}/events",
    summary="The events of a run, as a page or as a stream",
    description=_EVENTS,
    response_model=EventPage,
    dependencies=READ,
    responses={
        200: {"content": {_STREAM: {"schema": {"type": "string"}, "examples": {"events": {"value": _STREAMED}}}}},
        204: {"description": "As a stream: the run has ended, and there is no more"},
        **guarded_responses(UnknownRun),
    },
)
async def get_events(
    parts: InjectedParts,
    run_id: RunId,
    *,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="The most that a page holds; not for streams")] = 200,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    authorization: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[Seq | None, Header(alias="Last-Event-ID", description="As `after`, for streams")] = None,
) -> Response:
    run = await parts.control.runs.get(run_id)
    if _STREAM not in accept:
        entries = await parts.control.history.entries(run_id, after=after, most=limit)
        last = entries[-1].seq if entries else after
        return answer(EventPage(items=[EventView.of(entry) for entry in entries], next_after=last))
    seen = after if last_event_id is None else last_event_id
    if not run.is_open and seen >= run.last_seq:
        # To a browser's EventSource this alone means: don't connect again.
        return Response(status_code=204)
    key = authorization.partition(" ")[2].strip()
    return EventStream(
        stream_events(parts, run, after=seen, key=key),
        shutting_down=parts.shutting_down,
        metrics=parts.metrics.http,
    )


@router.get(
    "/{run_id}/steps",
    summary="The steps that have ended",
    response_model=StepList,
    dependencies=READ,
    responses=guarded_responses(UnknownRun),
)
async def get_steps(parts: InjectedParts, run_id: RunId) -> Response:
    await parts.control.runs.get(run_id)
    steps = await parts.control.history.steps(run_id)
    return answer(StepList(items=[StepView.of(step) for step in steps]))


@router.get(
    "/{run_id}/calls",
    summary="The model calls that were made",
    response_model=CallList,
    dependencies=READ,
    responses=guarded_responses(UnknownRun),
)
async def get_calls(parts: InjectedParts, run_id: RunId) -> Response:
    await parts.control.runs.get(run_id)
    calls = await parts.control.history.calls(run_id)
    return answer(CallList(items=[_call(call) for call in calls]))


def _call(call: CallRow) -> CallView:
    step = {"node": call.step.node, "visit": call.step.visit, "item": call.step.item}
    values: dict[str, Any] = {name: getattr(call, name) for name in CallView.model_fields if name not in step}
    return CallView(**values | step | {"cost_usd": money(call.cost_usd)})


def _utc(at: datetime | None) -> datetime | None:
    try:
        return at.astimezone(UTC) if at is not None else None
    except OverflowError:  # a zone that leads out of the years 1 to 9999
        return at.replace(tzinfo=UTC) if at is not None else None
