"""The routes that show runs: their state, events, steps and calls."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import AwareDatetime

from flowyard.access import Caller
from flowyard.api import examples
from flowyard.api.history import CallList, CallView, EventPage, EventView, Seq, StepList, StepView, TextsView
from flowyard.api.moments import as_utc
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.api.runs import RunListItem, RunPage, RunView, money
from flowyard.api.workflows import WorkflowName
from flowyard.errors.requests import TooBusy, TooLarge, TooManyStreams, UnknownOutput, UnknownRun
from flowyard.runs.call_texts import CallTexts
from flowyard.runs.events import StepId
from flowyard.runs.run import State
from flowyard.storage.rows import CallRow
from flowyard.storage.run_lists import RunFilter
from flowyard.web.auth import READ, check_workflow, require
from flowyard.web.large_answers import LargeAnswer
from flowyard.web.problems import guarded, guarded_responses
from flowyard.web.sse import EventStream
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.answers import answer, answer_run, as_json
from flowyard_gateway.parts import InjectedParts, RunId
from flowyard_gateway.streaming import stream_events

_STREAM: Final = "text/event-stream"
_EXAMPLE: Final = (
    f"id: {examples.EVENT['seq']}\nevent: {examples.EVENT['type']}\ndata: {as_json(examples.EVENT).decode()}\n\n"
    f"event: token\ndata: {as_json(examples.TOKEN).decode()}\n\n"
)
_EVENTS: Final = """\
As JSON, one page of events. With `Accept: text/event-stream`, a stream of all events until the run ends: `event` is the
type, `id` the number, `data` the event as JSON. Pieces of models' replies come between them, as `event: token` without
an id: of each call that began while somebody followed the run, first the text so far, then the rest. A client that
connects again sends the `id` of its last event as `Last-Event-ID`. The response is 204 if the run has ended and the
client has all events. An output of more than 64 kB isn't in an event: its size is in `large_outputs`, and
`/v1/runs/{run_id}/outputs` has its value. A client that doesn't read for 30 s is disconnected, and may connect again.
"""
_OUTPUTS: Final = (
    "Of a run or of one of its steps. It may be too large for an event, a list of steps, or the run's answer."
)

MayRead: TypeAlias = Annotated[Caller, Depends(require("read"))]
Own: TypeAlias = Annotated[Caller, Depends(require("read", reach="own"))]
After: TypeAlias = Annotated[Seq, Query(description="Only events with a greater number")]
Time: TypeAlias = Annotated[AwareDatetime | None, Query(description="With a time zone: `2026-11-23T00:00:00Z`")]

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=StrictJsonRoute)


@router.get(
    "",
    summary="List the runs",
    description="The newest first. `next_cursor` is null on the last page.",
    response_model=RunPage,
    responses=guarded_responses(),
)
async def list_runs(  # noqa: PLR0913  # FastAPI passes them by name
    parts: InjectedParts,
    caller: Own,
    *,
    workflow: Annotated[WorkflowName | None, Query()] = None,
    status: Annotated[list[State], Query(max_length=6, description="May be given several times")] = [],  # noqa: B006
    created_from: Time = None,
    created_to: Time = None,
    forked_from: Annotated[UUID | None, Query(description="Only forks of this run")] = None,
    cursor: Annotated[UUID | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many runs at most")] = DEFAULT_LIMIT,
) -> Response:
    check_workflow(caller, workflow)
    wanted = RunFilter(
        workflow=workflow,
        workflows=caller.workflows,
        statuses=status,
        created_from=as_utc(created_from) if created_from is not None else None,
        created_to=as_utc(created_to) if created_to is not None else None,
        forked_from=forked_from,
        before=cursor,
    )
    runs = await parts.control.runs.page(wanted, limit + 1)
    cursor_after = str(runs[limit - 1].id) if len(runs) > limit else None
    return answer(RunPage(items=[RunListItem.of(run) for run in runs[:limit]], next_cursor=cursor_after))


@router.get(
    "/{run_id}",
    summary="Get a run",
    description="With its outputs, except for large ones: their sizes are in `large_outputs`.",
    response_model=RunView,
    **guarded(READ, UnknownRun),
)
async def get_run(parts: InjectedParts, run_id: RunId) -> Response:
    return answer_run(await parts.control.runs.get(run_id))


@router.get(
    "/{run_id}/events",
    summary="List or stream the events of a run",
    description=_EVENTS,
    response_model=EventPage,
    dependencies=READ,
    responses={
        200: {"content": {_STREAM: {"schema": {"type": "string"}, "examples": {"events": {"value": _EXAMPLE}}}}},
        204: {"description": "Only for streams: the run has ended, and there are no more events"},
        **guarded_responses(UnknownRun, TooManyStreams),
    },
)
async def get_events(
    parts: InjectedParts,
    run_id: RunId,
    *,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many events at most; not for streams")] = 200,
    request: Request,
    caller: MayRead,
    tokens: Annotated[bool, Query(description="Whether pieces of replies are wanted; only for streams")] = True,
    last_event_id: Annotated[Seq | None, Header(alias="Last-Event-ID", description="As `after`, for streams")] = None,
) -> Response:
    run = await parts.control.runs.get(run_id)
    if _STREAM not in request.headers.get("accept", ""):
        entries, _ = await parts.control.history.page(run_id, after=after, most=limit)
        last = entries[-1].seq if entries else after
        return answer(EventPage(items=[EventView.of(entry) for entry in entries], next_after=last))
    seen = after if last_event_id is None else last_event_id
    if not run.is_open and seen >= run.last_seq:
        # Only this status stops a browser's EventSource from connecting again.
        return Response(status_code=204)
    key = request.headers["authorization"].partition(" ")[2].strip()
    events = stream_events(parts, run, after=seen, tokens=tokens, key=key)
    return EventStream(
        events,
        shutting_down=parts.shutting_down,
        metrics=parts.metrics.http,
        opened=parts.streams.opened(caller.key_id),
    )


@router.get(
    "/{run_id}/outputs",
    summary="Get a large output",
    description=_OUTPUTS,
    response_model=None,
    dependencies=READ,
    responses={
        200: {"description": "The value as JSON", "content": {"application/json": {"schema": {}}}},
        **guarded_responses(UnknownRun, UnknownOutput, TooLarge, TooBusy),
    },
)
async def get_outputs(
    parts: InjectedParts,
    run_id: RunId,
    *,
    name: Annotated[str | None, Query(max_length=200, description="Which one; without it, all in one object")] = None,
    node: Annotated[str | None, Query(max_length=200, description="Whose step; without it, those of the run")] = None,
    visit: Annotated[int, Query(ge=1, le=2**31 - 1, description="The step's")] = 1,
    item: Annotated[int | None, Query(ge=0, le=2**31 - 1, description="The step's, in a map")] = None,
) -> Response:
    step = StepId(node, visit, item) if node is not None else None
    return LargeAnswer(parts.large_answers, partial(parts.control.runs.large_outputs.value, run_id, name, step))


@router.get(
    "/{run_id}/steps",
    summary="List the steps that have begun",
    description="Those that have ended and those that are at work, in the order of their events.",
    response_model=StepList,
    **guarded(READ, UnknownRun),
)
async def get_steps(parts: InjectedParts, run_id: RunId) -> Response:
    await parts.control.runs.get(run_id)
    steps = await parts.control.history.steps(run_id)
    return answer(StepList(items=[StepView.of(step) for step in steps]))


@router.get(
    "/{run_id}/calls",
    summary="List the model calls that have ended",
    description="With their tokens and costs, in the order of their events.",
    response_model=CallList,
    **guarded(READ, UnknownRun),
)
async def get_calls(
    parts: InjectedParts,
    run_id: RunId,
    *,
    after: Annotated[Seq, Query(description="Only calls with a greater `seq`")] = 0,
    texts: Annotated[bool, Query(description="Whether the answer has the texts of calls that are kept")] = True,
) -> Response:
    await parts.control.runs.get(run_id)
    calls = [call for call in await parts.control.history.calls(run_id) if call.seq > after or not after]
    said = await parts.control.history.texts(run_id, after=after) if texts else {}
    kept = await parts.control.history.with_texts(run_id) if texts else frozenset()
    last = max(said, default=after)
    return answer(
        CallList(
            items=[_call(call, said.get(call.seq)) for call in calls],
            texts_after=last if any(seq > last for seq in kept) else None,
        )
    )


def _call(call: CallRow, said: CallTexts | None) -> CallView:
    own = {"node": call.step.node, "visit": call.step.visit, "item": call.step.item, "cost_usd": money(call.cost_usd)}
    own["texts"] = TextsView.model_validate(said.data) if said is not None else None
    values: dict[str, Any] = {name: getattr(call, name) for name in CallView.model_fields if name not in own}
    return CallView(**values | own)
