"""Shapes of the routes under `/v1/notifications` and `/v1/receivers`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field

from flowyard.api import examples
from flowyard.api.pages import Page
from flowyard.language.on_finish import End
from flowyard.runs.notifications import (
    NOTIFICATION_ID,
    Notification,
    NotificationState,
    ReceiverHealth,
    Try,
    WhyDisabled,
)

ReceiverId: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{16}$", description="The receiver's id")]
NotificationRef: TypeAlias = Annotated[
    str, Field(pattern=f"^{NOTIFICATION_ID}$", description="The notification's id, which is its `webhook-id`")
]
_SHOWN = "Where it is sent, without the query, in which there may be secrets"


class TryView(BaseModel):
    """One try to send a notification."""

    at: datetime
    duration_s: float
    status: Annotated[int | None, Field(description="Of the answer; null: there was none")]
    failure: Annotated[str | None, Field(description="Why it isn't accepted; null: it is")]

    @classmethod
    def of(cls, tried: Try) -> TryView:
        return cls(at=tried.at, duration_s=tried.duration_s, status=tried.status, failure=tried.failure)


class NotificationView(BaseModel, json_schema_extra={"examples": [examples.NOTIFICATION]}):
    """The report of a run's end to one receiver."""

    id: str
    run_id: UUID
    workflow: str
    receiver: str
    url: Annotated[str, Field(description=_SHOWN)]
    state: NotificationState
    run_status: End
    finished_at: datetime
    next_at: Annotated[datetime | None, Field(description="When it is sent next; null: never")]
    tries: Annotated[int, Field(description="Since it was made, or replayed")]
    answers: Annotated[list[TryView], Field(description="The last tries, the oldest first")]

    @classmethod
    def of(cls, notification: Notification) -> NotificationView:
        return cls(
            id=str(notification.id),
            run_id=notification.id.run_id,
            workflow=notification.workflow,
            receiver=notification.receiver_id,
            url=shown(notification.url),
            state=notification.state,
            run_status=notification.run_status,
            finished_at=notification.finished_at,
            next_at=notification.next_at,
            tries=notification.tries,
            answers=_tries(notification.answers),
        )


class NotificationPage(Page[NotificationView]):
    """Notifications, of the newest runs first."""


class ReceiverView(BaseModel, json_schema_extra={"examples": [examples.RECEIVER]}):
    """Where notifications of a workflow's runs are sent, and how that goes."""

    id: str
    workflow: str
    url: Annotated[str, Field(description=_SHOWN)]
    waiting: Annotated[int, Field(description="Notifications that it hasn't accepted yet")]
    failures: Annotated[int, Field(description="Notifications in a row of which all tries have failed")]
    tried_at: datetime
    accepted_at: datetime | None
    failing_since: Annotated[datetime | None, Field(description="null: it has accepted the last one")]
    not_before: Annotated[datetime | None, Field(description="Until when it wants to be left alone")]
    disabled_at: Annotated[datetime | None, Field(description="Since when nothing is sent to it; null: it is enabled")]
    why_disabled: Annotated[
        WhyDisabled | None, Field(description="`gone`: it has answered 410; `failing`: it has accepted nothing in days")
    ]
    last_failure: str | None

    @classmethod
    def of(cls, health: ReceiverHealth) -> ReceiverView:
        return cls(
            id=health.id,
            workflow=health.workflow,
            url=shown(health.url),
            waiting=health.waiting,
            failures=health.failures,
            tried_at=health.tried_at,
            accepted_at=health.accepted_at,
            failing_since=health.failing_since,
            not_before=health.not_before,
            disabled_at=health.disabled_at,
            why_disabled=health.why_disabled,
            last_failure=health.last_failure,
        )


class ReceiverPage(Page[ReceiverView]):
    """Receivers, by their ids."""


class Replayed(BaseModel):
    """How many notifications are sent again."""

    count: int


def shown(url: str) -> str:
    """Without its query."""
    path, mark, _ = url.partition("?")
    return f"{path}{mark}…" if mark else path


def _tries(answers: Sequence[Try]) -> list[TryView]:
    return [TryView.of(each) for each in answers]
