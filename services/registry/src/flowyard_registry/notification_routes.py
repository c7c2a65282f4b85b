"""The routes under `/v1/notifications` and `/v1/receivers`."""

from __future__ import annotations

import logging
from typing import Annotated, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Path, Query

from flowyard.api.notifications import (
    NotificationPage,
    NotificationRef,
    NotificationView,
    ReceiverId,
    ReceiverPage,
    ReceiverView,
    Replayed,
)
from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.errors.requests import ReceiverDisabled, UnknownNotification, UnknownReceiver
from flowyard.runs.notifications import NotificationId, NotificationState
from flowyard.storage.notifications import NotificationFilter, Notifications
from flowyard.web.auth import READ, RUN, Acting
from flowyard.web.problems import guarded
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_registry.parts import InjectedParts

log = logging.getLogger(__name__)

Id: TypeAlias = Annotated[NotificationRef, Path()]
Receiver: TypeAlias = Annotated[ReceiverId, Path()]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MOST, description="How many at most")]

router = APIRouter(prefix="/v1", tags=["notifications"], route_class=StrictJsonRoute)


@router.get(
    "/notifications",
    summary="List the notifications",
    description="Of the newest runs first. `next_cursor` is null on the last page.",
    **guarded(READ),
)
async def list_notifications(
    parts: InjectedParts,
    *,
    cursor: Annotated[NotificationRef | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: Limit = DEFAULT_LIMIT,
    receiver: Annotated[ReceiverId | None, Query(description="Only those for this receiver")] = None,
    run: Annotated[UUID | None, Query(description="Only those of this run")] = None,
    state: Annotated[NotificationState | None, Query(description="Only those in this state")] = None,
) -> NotificationPage:
    before = NotificationId.parse(cursor) if cursor is not None else None
    wanted = NotificationFilter(receiver=receiver, run_id=run, state=state, before=before)
    listed = await Notifications(parts.database).page(wanted, limit + 1)
    items = [NotificationView.of(each) for each in listed[:limit]]
    return NotificationPage(items=items, next_cursor=items[-1].id if len(listed) > limit else None)


@router.get(
    "/notifications/{notification}",
    summary="Get a notification",
    description="With the answers to its last tries.",
    **guarded(READ, UnknownNotification),
)
async def get_notification(parts: InjectedParts, notification: Id) -> NotificationView:
    return NotificationView.of(await Notifications(parts.database).get(_id(notification)))


@router.post(
    "/notifications/{notification}/replay",
    summary="Send a notification again",
    description="With the same `webhook-id`, and as many tries as a new one. One that is being sent is left alone.",
    **guarded(RUN, UnknownNotification, ReceiverDisabled),
)
async def replay_notification(parts: InjectedParts, by: Acting, notification: Id) -> NotificationView:
    replayed = await Notifications(parts.database).replay(_id(notification), by=by)
    log.info("notification replayed", extra={"notification": notification, "key_id": by.key_id})
    return NotificationView.of(replayed)


@router.get(
    "/receivers",
    summary="List the receivers of notifications",
    description="Those that something was sent to. `next_cursor` is null on the last page.",
    **guarded(READ),
)
async def list_receivers(
    parts: InjectedParts,
    *,
    cursor: Annotated[ReceiverId | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> ReceiverPage:
    listed = await Notifications(parts.database).receivers(after=cursor, limit=limit + 1)
    items = [ReceiverView.of(each) for each in listed[:limit]]
    return ReceiverPage(items=items, next_cursor=items[-1].id if len(listed) > limit else None)


@router.get(
    "/receivers/{receiver}",
    summary="Get a receiver",
    description="How sending to it goes, and whether it is disabled.",
    **guarded(READ, UnknownReceiver),
)
async def get_receiver(parts: InjectedParts, receiver: Receiver) -> ReceiverView:
    return ReceiverView.of(await Notifications(parts.database).receiver(receiver))


@router.post(
    "/receivers/{receiver}/enable",
    summary="Enable a receiver",
    description="What waits for it is sent at once. A receiver that is enabled gets what waits for a later time, too.",
    **guarded(RUN, UnknownReceiver),
)
async def enable_receiver(parts: InjectedParts, by: Acting, receiver: Receiver) -> ReceiverView:
    enabled = await Notifications(parts.database).enable(receiver, by=by)
    facts = {"receiver": receiver, "workflow": enabled.workflow, "key_id": by.key_id}
    log.info("receiver enabled", extra=facts)
    return ReceiverView.of(enabled)


@router.post(
    "/receivers/{receiver}/replay",
    summary="Send what a receiver has missed",
    description="All its notifications of which all tries have failed, with as many tries as new ones.",
    **guarded(RUN, UnknownReceiver, ReceiverDisabled),
)
async def replay_receiver(parts: InjectedParts, by: Acting, receiver: Receiver) -> Replayed:
    count = await Notifications(parts.database).replay_failed(receiver, by=by)
    log.info("notifications replayed", extra={"receiver": receiver, "count": count, "key_id": by.key_id})
    return Replayed(count=count)


def _id(text: str) -> NotificationId:
    """Raises UnknownNotification."""
    parsed = NotificationId.parse(text)
    if parsed is None:
        raise UnknownNotification(text)
    return parsed
