"""Receivers of notifications on loopback, and a sender at work on a test's database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from flowyard.language.on_finish import Receiver
from flowyard.notify.secrets import SigningSecrets
from flowyard.notify.sender import Sender, SenderParts
from flowyard.outbound.allowlist import Allowlist, read_allowlist
from flowyard.outbound.client import open_outbound
from flowyard.runs.notifications import Notification
from flowyard.storage.notifications import NotificationFilter, Notifications
from flowyard.telemetry.metrics import Metrics
from support.stored import Stored
from support.waiting import eventually

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET: Final = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
LOOPBACK: Final = read_allowlist("127.0.0.1")
LISTED: Final = NotificationFilter()


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)["data"]
        return data


@dataclass
class ReceivingServer:
    """`answer`: what it answers from now on, with which headers; or what makes the answer."""

    url: str
    received: list[Received] = field(default_factory=list)
    answer: int | Callable[[Received], Awaitable[web.Response]] = 204
    headers: dict[str, str] = field(default_factory=dict)

    def receiver(self, path: str = "/", **about: Any) -> Receiver:
        return Receiver(f"{self.url}{path}", **{"secrets": ("${env:A_WEBHOOK_SECRET}",), **about})

    def at(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path == path]

    async def handle(self, request: web.Request) -> web.Response:
        received = Received(request.path, dict(request.headers), await request.read())
        self.received.append(received)
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, headers=self.headers)
        return await self.answer(received)


@asynccontextmanager
async def receiving(port: int = 0, *, host: str = "127.0.0.1") -> AsyncIterator[ReceivingServer]:
    server = ReceivingServer("")
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    server.url = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Sending:
    """A sender at work. Its clock is the database's, and what the test has added to it."""

    notifications: Notifications
    metrics: Metrics

    def later(self, **time: float) -> None:
        self.notifications.ahead += timedelta(**time)


@asynccontextmanager
async def sending(
    stored: Stored,
    *,
    allow: Allowlist = LOOPBACK,
    own: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    **about: Any,
) -> AsyncIterator[Sending]:
    """`about`: fields of SenderParts that are not as usual."""
    metrics = Metrics(service="registry", version="0")
    notifications = Notifications(stored.database)
    secrets = SigningSecrets(own, environ if environ is not None else {"A_WEBHOOK_SECRET": SECRET})
    async with open_outbound({}, allow) as client:
        usual = {"every_s": 0.05, "measure_every_s": 0.05}
        parts = SenderParts(notifications, stored.runs, client, secrets, metrics.notifications, **{**usual, **about})
        task = asyncio.create_task(Sender(parts).run())
        try:
            yield Sending(notifications, metrics)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def ended(stored: Stored, *receivers: Receiver, status: str = "succeeded", workflow: str = "test") -> UUID:
    """A run that has ended, with these receivers."""
    claim = await stored.claimed(workflow, on_finish=receivers)
    await stored.finish(claim, status)
    return claim.run_id


async def only(stored: Stored) -> Notification:
    [notification] = await Notifications(stored.database).page(LISTED, 10)
    return notification


async def in_state(stored: Stored, state: str) -> Notification:
    async def reached() -> bool:
        return (await only(stored)).state == state

    await eventually(reached)
    return await only(stored)


async def refused(stored: Stored, times: int) -> Notification:
    """When the answers to so many tries are recorded."""

    async def recorded() -> bool:
        return len((await only(stored)).answers) == times

    await eventually(recorded)
    return await only(stored)
