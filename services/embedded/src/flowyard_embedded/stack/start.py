"""The start of a stack: ends leftovers of an earlier one, then starts everything and waits until it is healthy."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from flowyard.bus.subjects import PERMISSIONS, READER, READER_PERMISSIONS, SENDER, SENDER_PERMISSIONS
from flowyard.storage.database import open_database
from flowyard.storage.roles import OWNER
from flowyard_embedded.servers.accounts import SystemAccount, account_of_services, give, unreadable_code
from flowyard_embedded.servers.home import write_secret
from flowyard_embedded.servers.lifetime import S
from flowyard_embedded.servers.nats import NatsServer, start_nats
from flowyard_embedded.servers.nats_config import Subjects
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from flowyard_embedded.stack.down import end_leftovers, find_leftovers
from flowyard_embedded.stack.external import DATABASE_URL, NATS_URL, external_url
from flowyard_embedded.stack.keys import ensure_access, sealing_key, webhook_secret
from flowyard_embedded.stack.migration import bring_to_schema
from flowyard_embedded.stack.output import StackOutput
from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.roles import DatabaseUrls, open_roles
from flowyard_embedded.stack.server import Start, SupervisedServer
from flowyard_embedded.stack.service import SupervisedService
from flowyard_embedded.stack.services import (
    NATS_ENDS,
    POSTGRES_ENDS,
    Ports,
    Services,
    Surroundings,
    choose_ports,
    url_of,
)
from flowyard_embedded.stack.stack import Stack
from flowyard_embedded.stack.state import StateFile

USERS: Final = {
    user: Subjects(*permissions)
    for user, permissions in {**PERMISSIONS, READER: READER_PERMISSIONS, SENDER: SENDER_PERMISSIONS}.items()
}
_SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")
"""Postgres answers it with one byte, without asking who is there."""
_EXTERNAL_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What `flowyard up` is to start. `port`: the gateway's; the dashboard gets the next. 0: any free ones.

    `detached`: called when the stack is healthy and both output streams are closed. None: the streams stay open.
    """

    place: Place
    executors: int
    sandboxes: int
    port: int
    json_logs: bool
    services: Services
    detached: Callable[[], None] | None = None


@dataclass(frozen=True)
class Starting:
    """What the steps of a start share."""

    options: StackOptions
    stack: Stack
    output: StackOutput
    state: StateFile


@dataclass(frozen=True)
class Started:
    """`key`: the API key of the command line, if this start has made one."""

    ports: Ports
    key: SecretStr | None


async def start_stack(start: Starting) -> Started:
    """Returns when all services are healthy. Raises FlowyardError; what was started until then keeps running."""
    if leftovers := await asyncio.to_thread(find_leftovers, start.options.place.path):
        start.output.show_progress(f"  ending what an earlier start left behind: {', '.join(sorted(leftovers))}")
        await asyncio.to_thread(end_leftovers, leftovers)
    ports = choose_ports(start.options.port, executors=start.options.executors, sandboxes=start.options.sandboxes)
    start.state.set_urls(url_of(ports.gateway), url_of(ports.dashboard))
    database_url, nats_url = await asyncio.gather(_postgres(start), _nats(start))
    key = await _prepare_database(start, database_url(OWNER).get_secret_value(), gateway_url=url_of(ports.gateway))
    account = _account(start.output)
    secret_key, hook_secret = (make(start.options.place, os.environ) for make in (sealing_key, webhook_secret))
    for file in (secret_key, hook_secret):
        if file is not None:
            give(file, account)
    around = Surroundings(
        start.options.place.path, ports, database_url, nats_url, os.environ, secret_key, account, hook_secret
    )
    await _start_services(start, around)
    return Started(ports, key)


def _account(output: StackOutput) -> SystemAccount | None:
    """That services run as. Root's own, with a warning, if no other user can read the installed programs."""
    account = account_of_services()
    blocked = account and unreadable_code(account)
    if blocked:
        fact = f"services run as root, because other users may not read {blocked}: install Flowyard elsewhere"
        output.log("WARNING", fact)
        return None
    return account


async def _postgres(start: Starting) -> DatabaseUrls:
    if (url := external_url(DATABASE_URL, os.environ)) is not None:
        start.output.show_progress("  postgres: the one that FLOWYARD_DATABASE_URL names")
        return lambda _: url
    # A service has up to ten connections, and so has its successor for a moment. Vacuum often: the tables of open
    # runs are small and change all the time.
    settings = {"max_connections": str(60 + 20 * start.options.executors), "autovacuum_naptime": "10s"}

    def launch(port: int | None, give_up: threading.Event) -> PostgresServer:
        return start_postgres(start.options.place.postgres, port=port, settings=settings, give_up=give_up)

    return await open_roles(
        await _started(start, "postgres", POSTGRES_ENDS, launch, hello=_SSL_REQUEST), start.options.place.database_roles
    )


async def _nats(start: Starting) -> Callable[[str], SecretStr]:
    if (url := external_url(NATS_URL, os.environ)) is not None:
        start.output.show_progress("  nats: the one that FLOWYARD_NATS_URL names")
        return lambda _: url

    def launch(port: int | None, give_up: threading.Event) -> NatsServer:
        return start_nats(start.options.place.nats, users=USERS, port=port, give_up=give_up)

    server = await _started(start, "nats", NATS_ENDS, launch, hello=b"")
    write_secret(start.options.place.events_url, server.url(READER).get_secret_value())
    write_secret(start.options.place.messages_url, server.url(SENDER).get_secret_value())
    return server.url


async def _started(start: Starting, name: str, end_order: int, launch: Start[S], *, hello: bytes) -> S:
    begun = time.monotonic()
    process = SupervisedServer(
        name, end_order=end_order, start=launch, hello=hello, output=start.output, changed=start.state.update
    )
    start.stack.start(process)
    server = await process.ready()
    start.output.show_progress(f"  {name}: ready on port {server.port} after {time.monotonic() - begun:.1f} s")
    return server


async def _prepare_database(start: Starting, url: str, *, gateway_url: str) -> SecretStr | None:
    begun = time.monotonic()
    schema = await bring_to_schema(url, patience_s=_EXTERNAL_PATIENCE_S)
    start.output.show_progress(f"  {schema}: after {time.monotonic() - begun:.1f} s")
    async with open_database(url, service="up", most=1) as database:
        return await ensure_access(start.options.place.access, gateway_url, database)


async def _start_services(start: Starting, around: Surroundings) -> None:
    begun = time.monotonic()
    services = [SupervisedService(spec, start.output, start.state.update) for spec in start.options.services(around)]
    for service in services:
        start.stack.start(service)
    await asyncio.gather(*(_healthy(start, service, begun) for service in services))


async def _healthy(start: Starting, service: SupervisedService, begun: float) -> None:
    await service.ready()
    start.output.show_progress(f"  {service.name}: healthy after {time.monotonic() - begun:.1f} s")
