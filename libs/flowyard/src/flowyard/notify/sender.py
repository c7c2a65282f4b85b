"""The loop that sends notifications. Several processes may run it: each notification is sent by one at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NoReturn

from flowyard.chats.platforms import Chat
from flowyard.errors.outbound import OutboundError
from flowyard.errors.requests import UnknownRun
from flowyard.errors.services import Unavailable
from flowyard.errors.webhooks import MissingWebhookSecret, UnusableWebhookSecret
from flowyard.llm.pauses import retry_after
from flowyard.notify.outcome import SendOutcome, unanswered
from flowyard.notify.payload import payload_of
from flowyard.notify.replies import ReplyParts, send_reply
from flowyard.notify.schedule import PAUSES_S, REPLY_PAUSES_S, hold_of, pause_after
from flowyard.notify.secrets import SigningSecrets
from flowyard.outbound.client import OutboundClient
from flowyard.outbound.requests import OutboundAnswer, OutboundRequest
from flowyard.runs.notifications import MAX_FAILURES, NEVER, Taken, Try
from flowyard.storage.database import dumps
from flowyard.storage.notifications import Notifications
from flowyard.storage.runs import Runs
from flowyard.telemetry.metrics import NotificationMetrics
from flowyard.webhooks import standard
from flowyard.webhooks.request import HookRequest

log = logging.getLogger(__name__)

OUTCOMES: Final = ("accepted", "failed")
REASONS: Final = (
    "answered", "gone", "redirect", "timeout", "unreachable", "address_refused", "broken", "unsigned", "bug",
)  # fmt: skip
MOST: Final = 32
"""Notifications that a process sends at a time."""
MOST_FAILING: Final = 16
"""Of these, to receivers that have refused the last one: a slow one of them takes as long as it may."""
EACH: Final = 4
"""To one receiver, at a time."""
TRY_S: Final = 20.0
"""How long a receiver may take to answer."""
_LEASE_S: Final = 60.0
"""After this time, another process may take what a dead one was sending: more than a try may take, with its rows."""
_READ: Final = 4_096
"""Bytes of an answer that are read: nothing in it is used."""
_GONE: Final = 410
_BUSY: Final = frozenset({429, 503})
"""Statuses with which Retry-After is about all that is for this receiver."""
_GIVE_BACK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SenderParts:
    """`now`: what is signed. `every_s`: between polls; `measure_every_s`: between measurements of what waits.

    `chat_urls`: addresses of chats that are not as usual.
    """

    notifications: Notifications
    runs: Runs
    client: OutboundClient
    secrets: SigningSecrets
    metrics: NotificationMetrics
    chat_urls: Mapping[Chat, str] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    every_s: float = 1.0
    measure_every_s: float = 5.0
    lease_s: float = _LEASE_S
    try_s: float = TRY_S


class Sender:
    def __init__(self, parts: SenderParts) -> None:
        self._parts = parts
        self._replies = ReplyParts(
            notifications=parts.notifications,
            runs=parts.runs,
            client=parts.client,
            secrets=parts.secrets,
            bases=parts.chat_urls,
            now=parts.now,
            try_s=parts.try_s,
            lease_s=parts.lease_s,
        )
        self._sending = 0
        self._sending_to_failing = 0
        self._ended = asyncio.Event()
        self._looked_s = 0.0
        self._measured_at = -parts.measure_every_s
        parts.metrics.create_series(outcomes=OUTCOMES, reasons=REASONS)

    async def run(self) -> NoReturn:
        """Runs until it is cancelled. Then what was being sent is left to other processes, or to the next start."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._ended.clear()
                taken = await self._take()
                for each in taken:
                    self._count(each, 1)
                    tasks.create_task(self._report(each))
                if not taken or self._sending >= MOST:
                    # A look takes a moment for each receiver for which something waits: even for very many, it is
                    # less than a tenth of Postgres' time.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(max(self._parts.every_s, 10 * self._looked_s)):
                            await self._ended.wait()

    async def _take(self) -> list[Taken]:
        parts, room = self._parts, MOST - self._sending
        room_for_failing = MOST_FAILING - self._sending_to_failing
        try:
            await self._measure()
            if room <= 0:
                return []
            started = time.monotonic()
            taken = await parts.notifications.take(
                room, most_failing=room_for_failing, each=EACH, lease_s=parts.lease_s
            )
            self._looked_s = time.monotonic() - started
            return taken
        except Unavailable as error:
            log.warning("notifications paused: %s", error.message)
            return []

    def _count(self, taken: Taken, change: int) -> None:
        self._sending += change
        self._sending_to_failing += change if taken.is_failing else 0

    async def _report(self, taken: Taken) -> None:
        try:
            await self._send(_with_lost_try(taken))
        except UnknownRun:
            log.info("not notified: the run was deleted", extra=_about(taken))
        except Unavailable as error:
            # When its lease is over, it is taken again: the receiver may get it twice.
            log.warning("the outcome of a notification isn't recorded: %s", error.message, extra=_about(taken))
        except asyncio.CancelledError:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_GIVE_BACK_S):
                    await self._parts.notifications.give_back(taken)
            raise
        finally:
            self._count(taken, -1)
            self._ended.set()

    async def _send(self, taken: Taken) -> None:
        parts, started, at = self._parts, time.monotonic(), self._parts.now()
        try:
            outcome = await self._try(taken)
        except (UnknownRun, Unavailable):
            raise
        except Exception:
            # In the worker's loop: a bug must not stop what is for other receivers.
            log.exception("a notification failed: a bug", extra=_about(taken))
            outcome = SendOutcome(failure="a bug: see the log of the registry", reason="bug")
        duration_s = time.monotonic() - started
        parts.metrics.duration.observe(duration_s)
        tried = Try(at, round(duration_s, 3), outcome.status, outcome.failure)
        if outcome.failure is None:
            await parts.notifications.accepted(taken, tried)
            parts.metrics.notifications.labels("accepted").inc()
            log.info("notified", extra={**_about(taken), "duration_s": tried.duration_s})
        else:
            parts.metrics.failures.labels(outcome.reason).inc()
            await self._refused(taken, tried, outcome)

    async def _refused(self, taken: Taken, tried: Try, outcome: SendOutcome) -> None:
        parts, gone = self._parts, outcome.status == _GONE
        chance = random.random()  # noqa: S311  # not a secret
        is_reply = taken.receiver.reply is not None
        gone = gone and not is_reply
        pauses = REPLY_PAUSES_S if is_reply else PAUSES_S
        is_last = gone or outcome.is_final
        after = outcome.retry_after_s
        pause_s = None if is_last else pause_after(taken.tries, retry_after_s=after, chance=chance, pauses=pauses)
        hold_s = hold_of(outcome.retry_after_s) if outcome.status in _BUSY else 0.0
        # Who writes to a chat again wants an answer, whatever became of the last ones.
        most = NEVER if is_reply else MAX_FAILURES
        why = await parts.notifications.refused(
            taken, tried, pause_s=pause_s, hold_s=hold_s, gone=gone, most_failures=most
        )
        facts = {**_about(taken), "tries": taken.tries}
        if pause_s is None:
            parts.metrics.notifications.labels("failed").inc()
            log.error("a notification has failed: %s", outcome.failure, extra=facts)
        else:
            log.warning("a notification was refused: %s", outcome.failure, extra={**facts, "next_in_s": round(pause_s)})
        if why is not None:
            log.error("a receiver is disabled: nothing is sent to it any more", extra={**facts, "reason": why})

    async def _try(self, taken: Taken) -> SendOutcome:
        if taken.receiver.reply is not None:
            return await send_reply(self._replies, taken, taken.receiver.reply)
        try:
            request = await self._request(taken)
        except (MissingWebhookSecret, UnusableWebhookSecret) as error:
            return SendOutcome(failure=error.message, reason="unsigned")
        try:
            return _outcome_of(await self._parts.client.send(request), self._parts.now())
        except OutboundError as error:
            return unanswered(error)

    async def _request(self, taken: Taken) -> OutboundRequest:
        parts = self._parts
        # First: without a secret, nothing has to be read.
        secrets = parts.secrets.of(taken.receiver)
        run = await parts.runs.get(taken.id.run_id)
        is_same_end = run.last_seq == taken.id.seq
        spending = run.spending if is_same_end else await parts.notifications.spending(taken.id)
        body = dumps(payload_of(taken, run, spending)).encode()
        plain = HookRequest("POST", taken.receiver.url, (), body)
        signed = standard.sign(plain, secrets=secrets, now=parts.now(), delivery_id=str(taken.id))
        headers = {name: value for name, value in signed.headers if value}
        return OutboundRequest(
            method="POST",
            url=taken.receiver.url,
            headers={"Content-Type": "application/json", **headers},
            body=body,
            total_s=parts.try_s,
            answer_limit=_READ,
            cut=True,
        )

    async def _measure(self) -> None:
        if time.monotonic() - self._measured_at < self._parts.measure_every_s:
            return
        backlog = await self._parts.notifications.backlog()
        metrics = self._parts.metrics
        metrics.waiting.set(backlog.waiting)
        metrics.failing.set(backlog.failing)
        metrics.disabled.set(backlog.disabled)
        self._measured_at = time.monotonic()


def _outcome_of(answer: OutboundAnswer, now: datetime) -> SendOutcome:
    if 200 <= answer.status < 300:
        return SendOutcome(answer.status)
    reason = "gone" if answer.status == _GONE else "answered"
    return SendOutcome(answer.status, f"it answered {answer.status}", reason, retry_after(answer.headers, now))


def _with_lost_try(taken: Taken) -> Taken:
    """Another process had taken it, and died: whether the receiver got it isn't known."""
    if taken.lost_at is None:
        return taken
    log.warning("a notification was being sent when its process ended", extra=_about(taken))
    lost = Try(taken.lost_at, 0.0, None, "the process that sent it has ended: the receiver may have got it")
    return replace(taken, answers=[*taken.answers, lost])


def _about(taken: Taken) -> dict[str, object]:
    return {
        "run_id": str(taken.id.run_id),
        "workflow": taken.workflow,
        "notification": str(taken.id),
        "receiver": taken.receiver_id,
    }
