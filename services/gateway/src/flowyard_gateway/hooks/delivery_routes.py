"""The routes under `/v1/deliveries`: what came for triggers, and what became of it."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from flowyard.access import Caller
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.api.triggers import DeliveryPage, DeliveryView, DeliveryWhole, HookResult, TriggerName
from flowyard.api.workflows import WorkflowName
from flowyard.errors.requests import InvalidDocument, QueueFull, UnknownDelivery, UnknownTrigger
from flowyard.errors.webhooks import NotMapped, PayloadNotKept, TriggerPaused
from flowyard.runs.deliveries import Delivery, Outcome
from flowyard.storage.deliveries import DeliveryFilter
from flowyard.web.auth import Acting, check_list, require
from flowyard.web.problems import guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_gateway.answers import answer
from flowyard_gateway.hooks.replaying import replay
from flowyard_gateway.parts import InjectedParts

DeliveryId: TypeAlias = Annotated[UUID, Path(description="The delivery's id")]
Reader: TypeAlias = Annotated[Caller, Depends(require("read", reach="own"))]
Runner: TypeAlias = Annotated[Caller, Depends(require("run", reach="own"))]
PageLimit: TypeAlias = Annotated[int, Query(ge=1, le=MOST, description="How many items at most")]

router = APIRouter(prefix="/v1/deliveries", tags=["triggers"], route_class=StrictJsonRoute)


@router.get(
    "",
    summary="List deliveries",
    description="The newest first, without their payloads. `next_cursor` is null on the last page.",
    response_model=DeliveryPage,
    responses=guarded_responses(),
)
async def list_deliveries(  # by keyword
    parts: InjectedParts,
    caller: Reader,
    *,
    workflow: Annotated[WorkflowName | None, Query(description="Only those for this workflow")] = None,
    trigger: Annotated[TriggerName | None, Query(description="Only those for the trigger of this name")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only those that became this")] = None,
    run_id: Annotated[UUID | None, Query(description="Only that which started this run, and its copies")] = None,
    cursor: Annotated[UUID | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: PageLimit = DEFAULT_LIMIT,
) -> Response:
    check_list(caller, workflow)
    wanted = DeliveryFilter(workflow=workflow, trigger=trigger, outcome=outcome, run_id=run_id, before=cursor)
    deliveries = await parts.control.deliveries.page(wanted, limit + 1)
    next_cursor = str(deliveries[limit - 1].id) if len(deliveries) > limit else None
    items = [DeliveryView.of(delivery) for delivery in deliveries[:limit]]
    return answer(DeliveryPage(items=items, next_cursor=next_cursor))


@router.get(
    "/{delivery_id}",
    summary="Get a delivery",
    description="With its payload and headers, as far as they are kept.",
    response_model=DeliveryWhole,
    responses=guarded_responses(UnknownDelivery),
)
async def get_delivery(parts: InjectedParts, delivery_id: DeliveryId, caller: Reader) -> Response:
    delivery = await parts.control.deliveries.get(delivery_id)
    _check(caller, delivery)
    return answer(DeliveryWhole.whole(delivery))


@router.post(
    "/{delivery_id}/replay",
    summary="Replay a delivery",
    description=(
        "Starts a run with what came then, mapped by the trigger as it is now. Copies aren't looked for. Secrets that"
        " the delivery contained are masked, in the run, too."
    ),
    status_code=202,
    response_model=HookResult,
    responses=guarded_responses(
        UnknownDelivery, UnknownTrigger, InvalidDocument, PayloadNotKept, TriggerPaused, NotMapped, QueueFull
    ),
)
async def replay_delivery(parts: InjectedParts, delivery_id: DeliveryId, caller: Runner, by: Acting) -> Response:
    if caller.workflows is not None:
        _check(caller, await parts.control.deliveries.get(delivery_id))
    done = await replay(parts, delivery_id, by=by)
    status = 202 if done.outcome == "started" else 200
    headers = {"location": f"/v1/runs/{done.run_id}"} if done.run_id is not None else None
    return answer(HookResult(delivery=done.id, outcome=done.outcome, run_id=done.run_id), status, headers)


def _check(caller: Caller, delivery: Delivery) -> None:
    """Raises UnknownDelivery for one of a workflow that the caller's key isn't for."""
    if caller.workflows is not None and delivery.workflow not in caller.workflows:
        raise UnknownDelivery(str(delivery.id))
