"""The routes under `/v1/triggers`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Path, Query

from flowyard.access import Caller
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.api.triggers import Backfill, Backfilled, TriggerDetail, TriggerName, TriggerPage, TriggerView
from flowyard.api.workflows import WorkflowName
from flowyard.errors.requests import InvalidRequest, UnknownTrigger
from flowyard.errors.webhooks import TriggerPaused
from flowyard.web.auth import READ, RUN, WRITE, Acting, check_list, require
from flowyard.web.problems import guarded, guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_registry.backfill import backfill
from flowyard_registry.describe_triggers import trigger_detail, trigger_view
from flowyard_registry.documents import read_revision
from flowyard_registry.parts import InjectedParts

Workflow: TypeAlias = Annotated[WorkflowName, Path(description="The workflow's name")]
Name: TypeAlias = Annotated[TriggerName, Path(description="The trigger's name")]
Own: TypeAlias = Annotated[Caller, Depends(require("read", reach="own"))]
PageLimit: TypeAlias = Annotated[int, Query(ge=1, le=MOST, description="How many items at most")]

router = APIRouter(prefix="/v1/triggers", tags=["triggers"], route_class=StrictJsonRoute)


@router.get(
    "",
    summary="List the triggers",
    description="Those of the current revisions of all workflows. `next_cursor` is null on the last page.",
    responses=guarded_responses(InvalidRequest),
)
async def list_triggers(
    parts: InjectedParts,
    caller: Own,
    *,
    workflow: Annotated[WorkflowName | None, Query(description="Only those of this workflow")] = None,
    cursor: Annotated[str | None, Query(max_length=200, description="The `next_cursor` of the previous page")] = None,
    limit: PageLimit = DEFAULT_LIMIT,
) -> TriggerPage:
    check_list(caller, workflow)
    triggers = await parts.triggers.page(workflow=workflow, after=_after(cursor), limit=limit + 1)
    more = triggers[limit - 1] if len(triggers) > limit else None
    now = await parts.fires.now()
    items = [trigger_view(trigger, now) for trigger in triggers[:limit]]
    return TriggerPage(items=items, next_cursor=f"{more.workflow}/{more.name}" if more is not None else None)


@router.get(
    "/{workflow}/{name}",
    summary="Get a trigger",
    description="One trigger of a workflow, by its name.",
    **guarded(READ, UnknownTrigger),
)
async def get_trigger(parts: InjectedParts, workflow: Workflow, name: Name) -> TriggerDetail:
    stored = await parts.triggers.get(workflow, name)
    revision = await parts.workflows.revision(workflow, stored.revision)
    return trigger_detail(stored, await read_revision(parts.documents, revision), await parts.fires.now())


@router.post(
    "/{workflow}/{name}/pause",
    summary="Pause a trigger",
    description=(
        "Until it is resumed, what comes is recorded, answered 503, and starts nothing. What a schedule would have"
        " started meanwhile is not started later."
    ),
    **guarded(WRITE, UnknownTrigger),
)
async def pause_trigger(parts: InjectedParts, workflow: Workflow, name: Name, by: Acting) -> TriggerView:
    return trigger_view(await parts.triggers.set_paused(workflow, name, paused=True, by=by), await parts.fires.now())


@router.post(
    "/{workflow}/{name}/resume",
    summary="Resume a paused trigger",
    description="From now on, what comes starts runs again.",
    **guarded(WRITE, UnknownTrigger),
)
async def resume_trigger(parts: InjectedParts, workflow: Workflow, name: Name, by: Acting) -> TriggerView:
    return trigger_view(await parts.triggers.set_paused(workflow, name, paused=False, by=by), await parts.fires.now())


@router.post(
    "/{workflow}/{name}/backfill",
    summary="Start fires of a schedule by hand",
    description=(
        "Those of a time that is over, such as before the schedule was made. A fire that has started a run starts none"
        " again, as often as this is called."
    ),
    **guarded(RUN, UnknownTrigger, InvalidRequest, TriggerPaused),
)
async def backfill_schedule(
    parts: InjectedParts, workflow: Workflow, name: Name, wanted: Backfill, by: Acting
) -> Backfilled:
    return await backfill(parts, workflow, name, wanted, by=by)


def _after(cursor: str | None) -> tuple[str, str] | None:
    """A name of a workflow has no slash."""
    if cursor is None:
        return None
    workflow, slash, name = cursor.partition("/")
    if not slash or "\0" in cursor:
        raise InvalidRequest([{"where": "query.cursor", "message": "isn't the `next_cursor` of a page"}])
    return workflow, name
