"""The start of a stack, from what was left behind to health."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from flowyard.bus.subjects import PERMISSIONS
from flowyard.storage.database import open_database
from flowyard_embedded.servers.nats import NatsServer, start_nats
from flowyard_embedded.servers.nats_config import Subjects
from flowyard_embedded.servers.postgres import PostgresServer, start_postgres
from flowyard_embedded.stack.client import equip_client
from flowyard_embedded.stack.external import DATABASE_URL, NATS_URL, external_url
from flowyard_embedded.stack.journal import Journal
from flowyard_embedded.stack.leftovers import end_leftovers, find_leftovers
from flowyard_embedded.stack.order import Order
from flowyard_embedded.stack.output import Output
from flowyard_embedded.stack.ports import Ports, choose_ports
from flowyard_embedded.stack.schema import bring_to_schema
from flowyard_embedded.stack.sealing_key import sealing_key
from flowyard_embedded.stack.server import KeptServer, S, Start
from flowyard_embedded.stack.service import Service
from flowyard_embedded.stack.services import NATS_ENDS, POSTGRES_ENDS, Surroundings, url_of
from flowyard_embedded.stack.stack import Stack

_USERS: Final = {service: Subjects(*permissions) for service, permissions in PERMISSIONS.items()}
_EXTERNAL_PATIENCE_S: Final = 10.0


@dataclass(frozen=True)
class Starting:
    """What the steps of a start share."""

    order: Order
    stack: Stack
    output: Output
    journal: Journal


@dataclass(frozen=True)
class Started:
    """`key`: the API key that was made for the command line, if one was."""

    ports: Ports
    key: SecretStr | None


async def start_stack(start: Starting) -> Started:
    """Returns when all services are healthy. Raises FlowyardError; what has been started by then runs on."""
    await _end_leftovers(start)
    ports = choose_ports(start.order.port, executors=start.order.executors)
    start.journal.set_ports(ports)
    database_url, nats_url = await asyncio.gather(_postgres(start), _nats(start))
    key = await _prepare_database(start, database_url.get_secret_value(), gateway_url=url_of(ports.gateway))
    sealed_by = sealing_key(start.order.place, os.environ)
    around = Surroundings(start.order.place.path, ports, database_url, nats_url, os.environ, sealed_by)
    await _start_services(start, around)
    return Started(ports, key)


async def _end_leftovers(start: Starting) -> None:
    found = await asyncio.to_thread(find_leftovers, start.order.place.path)
    if found:
        start.output.progress(f"  ending what an earlier start left behind: {', '.join(sorted(found))}")
        await asyncio.to_thread(end_leftovers, found)


async def _postgres(start: Starting) -> SecretStr:
    if (url := external_url(DATABASE_URL, os.environ)) is not None:
        start.output.progress("  postgres: the one that FLOWYARD_DATABASE_URL names")
        return url
    # A service has up to ten connections, and for a moment so has its successor. What a step replaces is worth clearing
    # away soon: the tables of open runs are small and change all the time.
    settings = {"max_connections": str(60 + 20 * start.order.executors), "autovacuum_naptime": "10s"}

    def launch(port: int | None, give_up: threading.Event) -> PostgresServer:
        return start_postgres(start.order.place.postgres, port=port, settings=settings, give_up=give_up)

    return (await _started(start, "postgres", POSTGRES_ENDS, launch)).url


async def _nats(start: Starting) -> Callable[[str], SecretStr]:
    if (url := external_url(NATS_URL, os.environ)) is not None:
        start.output.progress("  nats: the one that FLOWYARD_NATS_URL names")
        return lambda _: url

    def launch(port: int | None, give_up: threading.Event) -> NatsServer:
        return start_nats(start.order.place.nats, users=_USERS, port=port, give_up=give_up)

    return (await _started(start, "nats", NATS_ENDS, launch)).url


async def _started(start: Starting, name: str, ends: int, launch: Start[S]) -> S:
    begun = time.monotonic()
    kept = KeptServer(name, ends=ends, start=launch, output=start.output, changed=start.journal.note)
    start.stack.start(kept)
    server = await kept.ready()
    start.output.progress(f"  {name}: ready on port {server.port} after {time.monotonic() - begun:.1f} s")
    return server


async def _prepare_database(start: Starting, url: str, *, gateway_url: str) -> SecretStr | None:
    begun = time.monotonic()
    schema = await bring_to_schema(url, patience_s=_EXTERNAL_PATIENCE_S)
    start.output.progress(f"  {schema}: after {time.monotonic() - begun:.1f} s")
    async with open_database(url, service="up", most=1) as database:
        return await equip_client(start.order.place.client, gateway_url, database)


async def _start_services(start: Starting, around: Surroundings) -> None:
    begun = time.monotonic()
    services = [Service(spec, start.output, start.journal.note) for spec in start.order.services(around)]
    for service in services:
        start.stack.start(service)
    await asyncio.gather(*(_healthy(start, service, begun) for service in services))


async def _healthy(start: Starting, service: Service, begun: float) -> None:
    await service.ready()
    start.output.progress(f"  {service.name}: healthy after {time.monotonic() - begun:.1f} s")
