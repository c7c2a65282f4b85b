"""One request to a webhook: verified, mapped, stored. What it became is recorded before it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from flowyard.control.deliver import (
    Delivered,
    LiveTrigger,
    StaleTrigger,
    inputs_of,
    outcome_of,
    record,
    reply_to,
    start,
)
from flowyard.control.submit import new_run_id
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidDocument, InvalidRequest, QueueFull, TooLarge
from flowyard.errors.services import Unavailable
from flowyard.errors.webhooks import HookNotReady, NotMapped, TooManyDeliveries, TriggerPaused, Unverified
from flowyard.language.mapping import Event
from flowyard.language.triggers import Webhook
from flowyard.runs.deliveries import MOST_KEPT, NewDelivery, copy_status
from flowyard.secrets.masking import MASK, Masker
from flowyard.storage.database import dumps
from flowyard.webhooks.acceptance import acceptance
from flowyard.webhooks.request import MOST_FIELDS, Answer, HookDelivery, HookRequest
from flowyard.webhooks.schemes import receive
from flowyard_gateway.hooks.limits import STRANGERS
from flowyard_gateway.hooks.live import webhook_of
from flowyard_gateway.hooks.secrets import Lock
from flowyard_gateway.parts import GatewayParts

log = logging.getLogger(__name__)

_LARGE: Final = 64 * 1024
"""Bytes of a body that is verified and read in a thread."""
_SECRET_HEADERS: Final = frozenset({
    "authorization", "cookie", "proxy-authorization", "x-telegram-bot-api-secret-token",
})  # fmt: skip
"""Headers that are neither stored nor mapped."""
_OF_STRANGERS: Final = ("content-type", "user-agent")
"""What is stored of the headers of a request that wasn't verified."""
_LONGEST: Final = 200
_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class IncomingHook:
    """A request to a webhook. `body_size`: of its body, as far as it was read; `too_large`: if not to its end."""

    path: str
    request: HookRequest
    address: str
    body_size: int
    too_large: TooLarge | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """`answer`: to a sender who only looks who is there. `delivered`: with the payload of each."""

    webhook: Webhook
    answer: Answer | None = None
    delivered: tuple[tuple[Delivered, Any], ...] = ()


async def receive_hook(parts: GatewayParts, incoming: IncomingHook, *, run_id: UUID | None = None) -> Received:
    """`run_id`: of the run, if it starts one; then the request must be one delivery, or the run gets another id.

    Raises UnknownHook, Unverified, InvalidRequest, TooLarge, HookNotReady, TriggerPaused, TooManyDeliveries,
    QueueFull, Unavailable. All but the first and the last are recorded. An event that can't be mapped is no error here:
    see `Delivered.error`.
    """
    for _ in range(_TRIES):
        try:
            live = await parts.hooks.at(incoming.path)
        except InvalidDocument as error:
            raise HookNotReady(error.message) from error
        try:
            return await _Receiving(parts, live, incoming).receive(run_id)
        except StaleTrigger:
            parts.hooks.forget(incoming.path)
    raise Unavailable("the trigger, which changes all the time,")


@dataclass(frozen=True, slots=True)
class _Receiving:
    """One request, for a trigger that may be out of date."""

    parts: GatewayParts
    live: LiveTrigger
    incoming: IncomingHook

    @property
    def webhook(self) -> Webhook:
        return webhook_of(self.live)

    async def receive(self, run_id: UUID | None) -> Received:
        """Raises StaleTrigger, before anything is recorded."""
        try:
            lock = await self.parts.hook_secrets.lock_of(self.webhook)
        except HookNotReady as error:
            await self._record_stranger(error)
            raise
        try:
            received = await self._verified(lock)
        except (Unverified, TooLarge) as error:
            await self._record_stranger(error)
            raise
        except InvalidRequest as error:
            await self._record(self._new(None, lock.masker), error, lock.masker, status=error.status)
            raise
        if isinstance(received, Answer):
            await self._confirm()
            await record(self.parts.control, replace(self._new(None, lock.masker), outcome="answered", status=200))
            return Received(self.webhook, answer=received)
        return Received(self.webhook, delivered=await self._deliver_all(received, lock, run_id))

    async def _verified(self, lock: Lock) -> Answer | tuple[HookDelivery, ...]:
        if self.incoming.too_large is not None:
            raise self.incoming.too_large
        now = datetime.now(UTC)
        if self.incoming.body_size > _LARGE:
            return await asyncio.to_thread(receive, lock.scheme, self.incoming.request, now)
        return receive(lock.scheme, self.incoming.request, now)

    async def _deliver_all(
        self, deliveries: tuple[HookDelivery, ...], lock: Lock, run_id: UUID | None
    ) -> tuple[tuple[Delivered, Any], ...]:
        """In their order. If one can't be stored, the sender repeats all, and those before it are known as copies."""
        is_single = len(deliveries) == 1
        delivered = []
        for number, delivery in enumerate(deliveries):
            own_id = run_id if is_single and run_id is not None else new_run_id()
            new = await self._new_of(delivery, lock.masker, number)
            try:
                delivered.append((await self._deliver(delivery, new, run_id=own_id), delivery.payload))
            except NotMapped as error:
                # Without anybody who waits, the response isn't an error: to send it again would change nothing.
                await self._record(
                    new, error, lock.masker, status=error.status if self.webhook.wait_s else copy_status(new.status)
                )
                delivered.append((Delivered(new.id, "failed", error=error), delivery.payload))
            except (QueueFull, TriggerPaused, TooManyDeliveries) as error:
                await self._record(new, error, lock.masker, status=error.status)
                raise
        return tuple(delivered)

    async def _deliver(self, delivery: HookDelivery, new: NewDelivery, *, run_id: UUID) -> Delivered:
        if not self.live.stored.is_live:
            raise TriggerPaused
        self.parts.hook_rates.require((new.workflow, new.trigger), self.webhook.rate)
        headers, query = self._headers(), self._query()
        inputs = await inputs_of(self.parts.control, self.live, Event(delivery.payload, headers, query))
        if inputs is None:
            await self._confirm()
            await record(
                self.parts.control, replace(new, outcome="unmatched", status=copy_status(new.status), key=None)
            )
            return Delivered(new.id, "unmatched")
        receivers = reply_to(self.live, delivery.payload, datetime.now(UTC))
        return await start(self.parts.control, self.live, inputs, new, run_id=run_id, receivers=receivers)

    async def _confirm(self) -> None:
        await self.parts.hooks.confirm(self.incoming.path, self.live)

    async def _record(self, new: NewDelivery, error: FlowyardError, masker: Masker, *, status: int | None) -> None:
        """A verified request, or one that nobody had to sign. Those over a limit are too many to record each."""
        await self._confirm()
        outcome = outcome_of(error)
        if outcome == "refused" and not self._is_recorded(outcome):
            return
        reason = _storable(masker.text(error.message))
        failed = replace(new, outcome=outcome, reason=reason, status=status, key=None)
        await record(self.parts.control, failed)

    async def _record_stranger(self, error: Unverified | HookNotReady | TooLarge) -> None:
        await self._confirm()
        outcome = outcome_of(error)
        reason = _storable(error.message if isinstance(error, TooLarge) else error.reason)
        facts = {"workflow": self.live.stored.workflow, "trigger": self.live.stored.name, "reason": reason}
        log.info("webhook not accepted", extra=facts)
        if not self._is_recorded(outcome):
            return
        headers = {name: value[:_LONGEST] for name, value in self._headers().items() if name in _OF_STRANGERS}
        new = replace(self._head(), headers=dumps(headers), outcome=outcome, reason=reason, status=error.status)
        await record(self.parts.control, new)

    def _is_recorded(self, outcome: str) -> bool:
        """Whether it is recorded. Everybody can send such requests, so a flood of them is only counted."""
        stored = self.live.stored
        if not self.parts.hook_rates.take((stored.workflow, stored.name, "record"), STRANGERS):
            return True
        self.parts.control.metrics.runs.deliveries.labels(stored.workflow, outcome).inc()
        return False

    def _head(self) -> NewDelivery:
        incoming, stored = self.incoming, self.live.stored
        return NewDelivery(
            id=new_run_id(),
            workflow=stored.workflow,
            trigger=stored.name,
            outcome="started",
            status=202,
            body_size=incoming.body_size,
            digest=None if incoming.too_large is not None else hashlib.sha256(incoming.request.body).digest(),
            address=incoming.address,
            method=incoming.request.method,
        )

    def _new(self, delivery: HookDelivery | None, masker: Masker, payload: str | None = None) -> NewDelivery:
        headers = self._headers() | {name: MASK for name, _ in self.incoming.request.headers if name in _SECRET_HEADERS}
        return replace(
            self._head(),
            sender_id=delivery.id if delivery is not None else None,
            headers=masker.text(dumps(headers)),
            query=masker.text(dumps(self._query())),
            payload=payload,
        )

    async def _new_of(self, delivery: HookDelivery, masker: Masker, number: int) -> NewDelivery:
        if self.incoming.body_size > _LARGE:
            payload = await asyncio.to_thread(_kept, delivery.payload, masker)
        else:
            payload = _kept(delivery.payload, masker)
        new = self._new(delivery, masker, payload)
        digest = new.digest.hex() if new.digest is not None else ""
        accepted = acceptance(self.webhook.sender, delivery.payload)
        status = accepted.status if accepted is not None else new.status
        own = delivery.id if delivery.id is not None else f"sha256:{digest}" + (f":{number}" if number else "")
        # No name of a workflow has a line break.
        return replace(new, key=f"{new.workflow}\n{new.trigger}\n{own}", status=status)

    def _headers(self) -> dict[str, str]:
        """Those that may be mapped, by their names in lower case; of several with one name, all values."""
        headers: dict[str, str] = {}
        for name, value in self.incoming.request.headers:
            if name not in _SECRET_HEADERS:
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def _query(self) -> Mapping[str, str | list[str]]:
        query: dict[str, str | list[str]] = {}
        text = self.incoming.request.url.partition("?")[2]
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS) if text else []
        except ValueError:
            pairs = []  # there are more parameters than anybody maps
        for name, value in pairs:
            match query.get(name):
                case None:
                    query[name] = value
                case list() as values:
                    values.append(value)
                case str(first):
                    query[name] = [first, value]
        return query


def _kept(payload: Any, masker: Masker) -> str | None:
    """The payload as it is stored: without secrets; None if it is too large."""
    text = dumps(payload)
    if len(text) > MOST_KEPT:
        return None
    return text if masker.text(text) == text else dumps(masker.value(payload))


def _storable(text: str) -> str:
    """The text as Postgres takes it."""
    return text.encode(errors="replace").decode().replace("\0", "")
