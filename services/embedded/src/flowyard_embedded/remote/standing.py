"""How a stack is: what its supervisor says if it runs here, what it answers itself, and what follows from both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any, Final

from flowyard.api.client import Client
from flowyard.api.refusals import Refused, Unreachable
from flowyard.api.status import StatusView
from flowyard.errors import FlowyardError
from flowyard_embedded.remote.tables import ago
from flowyard_embedded.stack.place import Place, owner_of
from flowyard_embedded.stack.state import read_state

HEALTHY: Final = "healthy"
DOWN: Final = "down"


@dataclass(frozen=True, slots=True)
class Service:
    """`state`: healthy, starting or down. `starts`: how often the supervisor has started it; None: who knows."""

    name: str
    state: str
    detail: str = ""
    pid: int | None = None
    port: int | None = None
    starts: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """`status` is None where the gateway can't say."""

    url: str
    services: tuple[Service, ...]
    status: StatusView | None

    @property
    def is_well(self) -> bool:
        return all(service.state == HEALTHY for service in self.services)

    def as_data(self) -> dict[str, Any]:
        status = self.status.model_dump(mode="json") if self.status else dict.fromkeys(StatusView.model_fields)
        services = [asdict(service) for service in self.services]
        return {"ok": self.is_well, "url": self.url, "services": services, **status}


def standing_of(client: Client, place: Place | None) -> Standing:
    """`place`: of the stack, if it is one of this machine's. Raises as Client if there is nothing to be said."""
    services = {service.name: service for service in _supervised(place)} if place else {}
    status = None
    try:
        found = list(_answered(client))
        status = _status(client)
    except Unreachable as error:
        if not services:
            raise
        found = [Service("gateway", DOWN, error.message)]
    if status is not None:
        found += _told(status, is_supervised=bool(services))
    for service in found:
        known = services.get(service.name, service)
        # A process may run and not be able to work.
        is_worse = known.state == HEALTHY or service.state == DOWN
        services[service.name] = replace(known, state=service.state if is_worse else known.state, detail=service.detail)
    return Standing(client.url, tuple(services.values()), status)


def _supervised(place: Place) -> Iterator[Service]:
    state = read_state(place.state) if owner_of(place) is not None else None
    for part in state.parts if state else ():
        yield Service(part.name, part.state, pid=part.pid, port=part.port, starts=part.starts)


def _answered(client: Client) -> Iterator[Service]:
    health = client.health()
    yield Service("gateway", HEALTHY, "about to end" if health.draining else "")
    for check in health.checks:
        yield Service(check.name, HEALTHY if check.ok else DOWN, check.detail)
    try:
        next(client.agents(most=1), None)
    except Refused as error:
        if not _is_away(error):
            raise
        yield Service("registry", DOWN, error.message)
    else:
        yield Service("registry", HEALTHY)


def _status(client: Client) -> StatusView | None:
    try:
        return client.status()
    except Refused as error:
        if not _is_away(error):
            raise
        return None


def _told(status: StatusView, *, is_supervised: bool) -> Iterator[Service]:
    if not status.nats_connected:
        yield Service("nats", DOWN, "not connected: events come once a second, and tokens don't come")
    if not status.executors:
        yield Service("executors", DOWN, "none has registered: runs wait")
    for executor in () if is_supervised else status.executors:
        yield Service(executor.name, HEALTHY, f"on {executor.host}, seen {ago(executor.heartbeat_at)}")


def _is_away(error: FlowyardError) -> bool:
    return error.status == HTTPStatus.SERVICE_UNAVAILABLE
