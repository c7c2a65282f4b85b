"""Notifications: reports of a run's end to its receivers. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

from flowyard.language.on_finish import End, Receiver
from flowyard.runs.events import Failure

NotificationState: TypeAlias = Literal["waiting", "sent", "failed"]
STATES: Final[tuple[NotificationState, ...]] = get_args(NotificationState)
WhyDisabled: TypeAlias = Literal["gone", "failing"]
"""`gone`: it has answered 410. `failing`: it has accepted none of several notifications, in days."""

MAX_FAILURES: Final = 3
"""Notifications in a row of which all tries have failed: then their receiver is disabled."""
NEVER: Final = 2**31 - 1
"""Instead of MAX_FAILURES, for chats: they are never disabled."""
MOST_ANSWERS: Final = 20
"""How many tries of a notification are recorded: the last ones."""
NOTIFICATION_ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]{1,9}-[0-9]{1,4}"
_ID: Final = re.compile(NOTIFICATION_ID)


class NotificationId(NamedTuple):
    """`seq`: of the event that ended the run: a run that is retried ends again. `place`: of the receiver."""

    run_id: UUID
    seq: int
    place: int

    @classmethod
    def parse(cls, text: str) -> NotificationId | None:
        """What `str` has made; None if it is none."""
        if not _ID.fullmatch(text):
            return None
        run_id, seq, place = text.rsplit("-", 2)
        return cls(UUID(run_id), int(seq), int(place)) if int(seq) < 2**31 and int(place) < 2**15 else None

    def __str__(self) -> str:
        """Its `webhook-id`, the same in each try."""
        return f"{self.run_id}-{self.seq}-{self.place}"


@dataclass(frozen=True, slots=True)
class Try:
    """`status`: of the answer; None: there was none. `failure`: why it isn't accepted; None: it is."""

    at: datetime
    duration_s: float
    status: int | None
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A notification that this process is to send. `tries`: including the one that is due; those before a replay don't
    count. `takes`: its outcome counts only if no other process has taken it meanwhile. `error`: of the run.

    `messages`: of a reply, that the chat has already taken.

    `lost_at`: when a process took it before that has recorded no outcome; None: there is none. `is_failing`: its
    receiver has refused the last one.
    """

    id: NotificationId
    workflow: str
    receiver_id: str
    receiver: Receiver = field(repr=False)
    run_status: End
    finished_at: datetime
    error: Failure | None
    tries: int
    takes: int
    answers: Sequence[Try]
    messages: int
    lost_at: datetime | None
    is_failing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A notification as it is listed. `next_at`: of its next try; None: there is none. `last`: its last try."""

    id: NotificationId
    workflow: str
    receiver_id: str
    url: str = field(repr=False)
    state: NotificationState
    run_status: End
    finished_at: datetime
    next_at: datetime | None
    tries: int
    answers: Sequence[Try]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverHealth:
    """How sending to a receiver goes. `waiting`: notifications that it hasn't accepted yet. `failures`: in a row, of
    which all tries have failed. `failing_since`: None if it has accepted the last one.
    """

    id: str
    workflow: str
    url: str = field(repr=False)
    waiting: int
    failures: int
    tried_at: datetime
    accepted_at: datetime | None
    failing_since: datetime | None
    not_before: datetime | None
    disabled_at: datetime | None
    why_disabled: WhyDisabled | None
    last_failure: str | None
