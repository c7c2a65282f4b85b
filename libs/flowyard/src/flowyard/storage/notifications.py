"""Notifications that wait to be sent, and what is known of their receivers. A trigger on `runs` inserts them.

Several processes may send: who takes a notification leases it. A process that dies while it sends one leaves it to
another, when the lease is over.
"""

# ruff: noqa: S608  # statements are put together from words of this file

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from flowyard.access import Actor
from flowyard.errors.requests import ReceiverDisabled, UnknownNotification, UnknownReceiver
from flowyard.language.on_finish import Receiver
from flowyard.runs.entries import decode_failure
from flowyard.runs.notifications import (
    MAX_FAILURES,
    MOST_ANSWERS,
    STATES,
    Notification,
    NotificationId,
    NotificationState,
    ReceiverHealth,
    Taken,
    Try,
    WhyDisabled,
)
from flowyard.runs.run import Spending
from flowyard.storage.audit import write_act
from flowyard.storage.database import Database
from flowyard.storage.filters import among, where
from flowyard.storage.runs import SPENDING


@dataclass(frozen=True, slots=True)
class NotificationFilter:
    """Which notifications a list contains: those that have all of this. `before`: those older than this one."""

    receiver: str | None = None
    run_id: UUID | None = None
    state: NotificationState | None = None
    before: NotificationId | None = None


@dataclass(frozen=True, slots=True)
class NotificationBacklog:
    """`failing`: receivers that have refused the last notification; `disabled`: those that get none."""

    waiting: int
    failing: int
    disabled: int


class Notifications:
    """Times are the database's, and `ahead` of them: a test moves the clock."""

    def __init__(self, database: Database, *, ahead: timedelta = timedelta()) -> None:
        self._database = database
        self.ahead = ahead

    async def take(self, most: int, *, most_failing: int, each: int, lease_s: float) -> list[Taken]:
        """Takes what is due, for `lease_s` seconds: up to `most`, and up to `each` of a receiver at a time.

        Of a receiver that has refused the last one, one at a time, and of up to `most_failing` such receivers.
        """
        rows = await self._database.rows(_TAKE, self.ahead, most, most_failing, each, lease_s)
        return [_taken(row) for row in rows]

    async def message_sent(self, taken: Taken, messages: int, *, lease_s: float) -> bool:
        """The chat has taken so many messages of a reply. False: another process has taken the notification."""
        return bool(await self._database.execute(_SENT, self.ahead, *taken.id, taken.takes, messages, lease_s))

    async def accepted(self, taken: Taken, tried: Try) -> None:
        await self._database.execute(_ACCEPTED, *self._outcome(taken, tried))

    async def refused(
        self,
        taken: Taken,
        tried: Try,
        *,
        pause_s: float | None,
        hold_s: float = 0.0,
        gone: bool = False,
        most_failures: int = MAX_FAILURES,
    ) -> WhyDisabled | None:
        """`pause_s`: until the next try; None: there is none. `hold_s`: how long the receiver wants to be left alone.

        `gone`: it wants no more. `most_failures`: in a row; then it is disabled.
        Returns why the receiver was disabled by this, or None.
        """
        why: WhyDisabled | None = await self._database.value(
            _REFUSED, *self._outcome(taken, tried), pause_s, hold_s, gone, most_failures
        )
        return why

    async def spending(self, notification: NotificationId) -> Spending:
        """What the model calls of a run had used when it ended: it may have been retried since."""
        row = await self._database.row(_SPENDING, notification.run_id, notification.seq)
        return Spending(**row) if row is not None else Spending()

    async def give_back(self, taken: Taken) -> None:
        """It may be sent by another process at once, and this try doesn't count: the process ends."""
        await self._database.execute(_GIVE_BACK, self.ahead, *taken.id, taken.takes)

    async def replay(self, notification: NotificationId, *, by: Actor | None = None) -> Notification:
        """Sends it again, whatever its state, with as many tries as a new one. Raises UnknownNotification,
        ReceiverDisabled.

        `by`: for the audit log.
        """
        known = await self.get(notification)
        if await self._database.value(_IS_DISABLED, known.receiver_id):
            raise ReceiverDisabled(known.receiver_id)
        async with self._database.transaction() as connection:
            await connection.execute(_REPLAY, self.ahead, *notification)
            objects = [str(notification)]
            await write_act(connection, "notification.replayed", by, workflow=known.workflow, objects=objects)
        return await self.get(notification)

    async def replay_failed(self, receiver: str, *, by: Actor | None = None) -> int:
        """Sends all that have failed again. Returns how many. `by`: for the audit log.

        Raises UnknownReceiver, ReceiverDisabled.
        """
        known = await self.receiver(receiver)
        if known.disabled_at is not None:
            raise ReceiverDisabled(receiver)
        async with self._database.transaction() as connection:
            replayed = await connection.fetch(_REPLAY_FAILED, self.ahead, receiver)
            details = {"notifications": len(replayed)}
            await write_act(
                connection, "receiver.replayed", by, workflow=known.workflow, objects=[receiver], details=details
            )
        return len(replayed)

    async def enable(self, receiver: str, *, by: Actor | None = None) -> ReceiverHealth:
        """What waits for it is sent at once, with as many tries as a new one. `by`: for the audit log.

        Raises UnknownReceiver.
        """
        known = await self.receiver(receiver)
        async with self._database.transaction() as connection:
            await connection.execute(_ENABLE, self.ahead, receiver)
            await connection.execute(_RESUME, self.ahead, receiver)
            await write_act(connection, "receiver.enabled", by, workflow=known.workflow, objects=[receiver])
        return await self.receiver(receiver)

    async def receiver(self, receiver: str) -> ReceiverHealth:
        """Raises UnknownReceiver."""
        row = await self._database.row(f"{_RECEIVERS} WHERE r.id = $1", receiver)
        if row is None:
            raise UnknownReceiver(receiver)
        return ReceiverHealth(**row)

    async def receivers(self, *, after: str | None, limit: int) -> list[ReceiverHealth]:
        """By their ids, at most `limit`."""
        rows = await self._database.rows(f"{_RECEIVERS} WHERE r.id > $1 ORDER BY r.id LIMIT $2", after or "", limit)
        return [ReceiverHealth(**row) for row in rows]

    async def get(self, notification: NotificationId) -> Notification:
        """Raises UnknownNotification."""
        row = await self._database.row(f"{_LISTED} WHERE (n.run_id, n.seq, n.place) = ($1, $2, $3)", *notification)
        if row is None:
            raise UnknownNotification(str(notification))
        return _notification(row)

    async def page(self, wanted: NotificationFilter, limit: int) -> list[Notification]:
        """Of the newest runs first, at most `limit`."""
        clause, args = where(
            ("n.receiver = {}", wanted.receiver),
            ("n.run_id = {}", wanted.run_id),
            (among("n.state", [wanted.state or ""], STATES), wanted.state),
            ("(n.run_id, n.seq, n.place) < ({}, {}, {})", *(wanted.before or (None,))),
        )
        order = f"ORDER BY n.run_id DESC, n.seq DESC, n.place DESC LIMIT ${len(args) + 1}"
        return [_notification(row) for row in await self._database.rows(f"{_LISTED} {clause} {order}", *args, limit)]

    async def backlog(self) -> NotificationBacklog:
        row = await self._database.row(_BACKLOG)
        return NotificationBacklog(**row) if row is not None else NotificationBacklog(0, 0, 0)

    def _outcome(self, taken: Taken, tried: Try) -> tuple[Any, ...]:
        answers = [_data_of(each) for each in (*taken.answers, tried)[-MOST_ANSWERS:]]
        about = taken.receiver_id, taken.workflow, taken.receiver.url, tried.failure
        return (self.ahead, *taken.id, taken.takes, answers, *about)


def _taken(row: Mapping[str, Any]) -> Taken:
    values = dict(row)
    return Taken(
        id=NotificationId(*(values.pop(name) for name in ("run_id", "seq", "place"))),
        receiver=Receiver.of(values.pop("about")),
        error=decode_failure(error) if (error := values.pop("error")) else None,
        answers=_answers(values.pop("answers")),
        **values,
    )


def _notification(row: Mapping[str, Any]) -> Notification:
    values = dict(row)
    return Notification(
        id=NotificationId(*(values.pop(name) for name in ("run_id", "seq", "place"))),
        answers=_answers(values.pop("answers")),
        **values,
    )


def _data_of(tried: Try) -> dict[str, Any]:
    return {
        "at": tried.at.isoformat(),
        "duration_s": tried.duration_s,
        "status": tried.status,
        "failure": tried.failure,
    }


def _answers(stored: Sequence[Mapping[str, Any]] | None) -> list[Try]:
    return [
        Try(datetime.fromisoformat(each["at"]), each["duration_s"], each["status"], each["failure"])
        for each in stored or ()
    ]


# One look into the index for each receiver for which something waits, however much that is: the first of them.
_TAKE: Final = """
WITH RECURSIVE first AS (
    (SELECT receiver, next_at FROM notifications WHERE state = 'waiting' ORDER BY receiver, next_at LIMIT 1)
    UNION ALL
    SELECT following.* FROM first CROSS JOIN LATERAL (
        SELECT n.receiver, n.next_at FROM notifications n WHERE n.state = 'waiting' AND n.receiver > first.receiver
        ORDER BY n.receiver, n.next_at LIMIT 1
    ) following
),
ready AS (
    SELECT f.receiver, f.next_at, coalesce(r.failing_since IS NOT NULL, false) AS is_failing,
        row_number() OVER (PARTITION BY r.failing_since IS NOT NULL ORDER BY f.next_at) AS place
    FROM first f LEFT JOIN receivers r ON r.id = f.receiver
    WHERE f.next_at <= now() + $1 AND r.disabled_at IS NULL AND coalesce(r.not_before <= now() + $1, true)
),
next AS (
    SELECT n.*, ready.is_failing FROM ready CROSS JOIN LATERAL (
        SELECT n.run_id, n.seq, n.place, n.next_at, n.taken_until - make_interval(secs => $5) AS lost_at
        FROM notifications n
        WHERE n.receiver = ready.receiver AND n.state = 'waiting' AND n.next_at <= now() + $1
        ORDER BY n.next_at
        LIMIT greatest(0, CASE WHEN ready.is_failing THEN 1 ELSE $4::int END - (
            SELECT count(*) FROM notifications t WHERE t.receiver = ready.receiver AND t.taken_until > now() + $1
        ))
        FOR UPDATE SKIP LOCKED
    ) n
    WHERE NOT ready.is_failing OR ready.place <= $3::int
    ORDER BY ready.is_failing, n.next_at LIMIT $2
)
UPDATE notifications n SET tries = n.tries + 1, takes = n.takes + 1,
    taken_until = now() + $1 + make_interval(secs => $5), next_at = now() + $1 + make_interval(secs => $5)
FROM next, runs r
WHERE (n.run_id, n.seq, n.place) = (next.run_id, next.seq, next.place) AND r.id = n.run_id
RETURNING n.run_id, n.seq, n.place, r.workflow, n.receiver AS receiver_id, r.on_finish->n.place AS about, n.run_status,
    n.finished_at, n.error, n.tries, n.takes, n.answers, n.messages, next.lost_at, next.is_failing
"""

# $1: ahead; $2-$4: of which notification; $5: as which take; $6: its answers; $7-$9: its receiver; $10: the failure.
_OF_TAKE: Final = "(run_id, seq, place) = ($2, $3, $4) AND takes = $5 AND taken_until IS NOT NULL"

_SENT: Final = f"""
UPDATE notifications SET messages = $6, taken_until = now() + $1 + make_interval(secs => $7),
    next_at = now() + $1 + make_interval(secs => $7)
WHERE {_OF_TAKE}
"""

_ACCEPTED: Final = f"""
WITH sent AS (
    UPDATE notifications SET state = 'sent', taken_until = NULL, answers = $6 WHERE {_OF_TAKE} RETURNING 1
)
INSERT INTO receivers AS r (id, workflow, url, tried_at, accepted_at, last_failure)
SELECT $7, $8, $9, now() + $1, now() + $1, $10::text FROM sent
ON CONFLICT (id) DO UPDATE SET tried_at = excluded.tried_at, accepted_at = excluded.accepted_at, failing_since = NULL,
    failures = 0, not_before = NULL
-- Written at most once a second while all goes well: many notifications may go to one receiver.
WHERE r.failing_since IS NOT NULL OR r.failures > 0 OR r.tried_at < excluded.tried_at - interval '1 s'
"""

_REFUSED: Final = f"""
WITH refused AS (
    UPDATE notifications SET state = CASE WHEN $11::float8 IS NULL THEN 'failed' ELSE 'waiting' END, taken_until = NULL,
        answers = $6, next_at = now() + $1 + make_interval(secs => coalesce($11, 0))
    WHERE {_OF_TAKE} RETURNING (state = 'failed')::int AS failures
),
earlier AS (SELECT disabled_at FROM receivers WHERE id = $7),
written AS (
    INSERT INTO receivers AS r (id, workflow, url, tried_at, failing_since, failures, not_before, disabled_at,
        why_disabled, last_failure)
    SELECT $7, $8, $9, now() + $1, now() + $1, refused.failures, now() + $1 + make_interval(secs => $12),
        CASE WHEN $13 THEN now() + $1 END, CASE WHEN $13 THEN 'gone' END, $10::text
    FROM refused
    ON CONFLICT (id) DO UPDATE SET tried_at = excluded.tried_at, last_failure = excluded.last_failure,
        failing_since = coalesce(r.failing_since, excluded.failing_since), failures = r.failures + excluded.failures,
        not_before = greatest(r.not_before, excluded.not_before),
        disabled_at = coalesce(r.disabled_at, excluded.disabled_at,
            CASE WHEN r.failures + excluded.failures >= $14::int THEN excluded.tried_at END),
        why_disabled = coalesce(r.why_disabled, excluded.why_disabled,
            CASE WHEN r.failures + excluded.failures >= $14 THEN 'failing' END)
    RETURNING why_disabled
)
SELECT why_disabled FROM written WHERE NOT EXISTS (SELECT FROM earlier WHERE disabled_at IS NOT NULL)
"""

_GIVE_BACK: Final = f"""
UPDATE notifications SET taken_until = NULL, next_at = now() + $1, tries = tries - 1 WHERE {_OF_TAKE}
"""

_SPENDING: Final = f"SELECT {SPENDING} FROM model_calls m WHERE m.run_id = $1 AND m.seq <= $2"

_IS_DISABLED: Final = "SELECT disabled_at IS NOT NULL FROM receivers WHERE id = $1"

# What was sent to the end is sent again as a whole.
_AGAIN: Final = """messages = CASE WHEN state = 'sent' THEN 0 ELSE messages END, state = 'waiting', tries = 0,
    next_at = now() + $1::interval, taken_until = NULL"""
# One that is being sent now is left alone: it is what was asked for.
_REPLAY: Final = f"""
UPDATE notifications SET {_AGAIN}
WHERE (run_id, seq, place) = ($2, $3, $4) AND (taken_until IS NULL OR taken_until <= now() + $1)
"""
_REPLAY_FAILED: Final = f"UPDATE notifications SET {_AGAIN} WHERE receiver = $2 AND state = 'failed' RETURNING 1"
_RESUME: Final = f"""
UPDATE notifications SET {_AGAIN}
WHERE receiver = $2 AND state = 'waiting' AND (taken_until IS NULL OR taken_until <= now() + $1)
"""

_ENABLE: Final = """
UPDATE receivers SET disabled_at = NULL, why_disabled = NULL, failures = 0, not_before = NULL, tried_at = now() + $1
WHERE id = $2
"""

_RECEIVERS: Final = """
SELECT r.id, r.workflow, r.url, r.failures, r.tried_at, r.accepted_at, r.failing_since, r.not_before, r.disabled_at,
    r.why_disabled, r.last_failure,
    (SELECT count(*) FROM notifications n WHERE n.receiver = r.id AND n.state = 'waiting') AS waiting
FROM receivers r
"""

_LISTED: Final = """
SELECT n.run_id, n.seq, n.place, r.workflow, n.receiver AS receiver_id, r.on_finish->n.place->>'url' AS url, n.state,
    n.run_status, n.finished_at, CASE WHEN n.state = 'waiting' THEN n.next_at END AS next_at, n.tries, n.answers
FROM notifications n JOIN runs r ON r.id = n.run_id
"""

_BACKLOG: Final = """
SELECT (SELECT count(*) FROM notifications WHERE state = 'waiting') AS waiting,
    count(*) FILTER (WHERE failing_since IS NOT NULL AND disabled_at IS NULL) AS failing,
    count(*) FILTER (WHERE disabled_at IS NOT NULL) AS disabled
FROM receivers
"""
