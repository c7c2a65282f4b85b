"""How a stack is: what its supervisor says if it runs here, what it answers itself, and what follows from both."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any, Final

from flowyard.api.client import Client
from flowyard.api.refusals import Refused, Unreachable
from flowyard.api.status import AlertView, ExecutorView, ServiceView, StatusView
from flowyard.errors import FlowyardError
from flowyard_cli.remote.tables import ago
from flowyard_embedded.stack.place import Place, owner_of
from flowyard_embedded.stack.state import read_state

HEALTHY: Final = "healthy"
DOWN: Final = "down"
UNKNOWN: Final = "unknown"
_MOST_EXECUTORS: Final = 8
"""That have a line each."""
_NO_FAULTS: Final = frozenset({"info", "warning"})
"""Severities of alerts that ask for somebody's attention, soon, and not for a repair."""
_FAULTS: Final = {UNKNOWN: "may be well or not"}
_STATES: Final = {True: HEALTHY, False: DOWN, None: UNKNOWN}


@dataclass(frozen=True, slots=True)
class Service:
    """`state`: healthy, starting, down or unknown. `starts`: how often its supervisor has started it, if it has one."""

    name: str
    state: str
    detail: str = ""
    pid: int | None = None
    port: int | None = None
    starts: int | None = None
    version: str | None = None
    address: str | None = None
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """`status` is None where the gateway can't say."""

    url: str
    services: tuple[Service, ...]
    status: StatusView | None

    @property
    def wrong(self) -> list[str]:
        """What is wrong, a line each."""
        found = [_fault(service) for service in self.services if service.state != HEALTHY]
        if self.status is not None:
            if orphaned := self.status.queue.orphaned:
                found.append(f"{orphaned} orphaned: nobody will touch these runs again; a defect, please report it")
            found += [f"{alert.name} fires" for alert in firing(self.status) if alert.severity not in _NO_FAULTS]
        return found

    def as_data(self) -> dict[str, Any]:
        status = self.status.model_dump(mode="json") if self.status else dict.fromkeys(StatusView.model_fields)
        services = [asdict(service) for service in self.services]
        return {"ok": not self.wrong, "wrong": self.wrong, "url": self.url, **status, "services": services}


def firing(status: StatusView) -> list[AlertView]:
    return list(status.alerts.firing or ()) if status.alerts else []


def standing_of(client: Client, place: Place | None) -> Standing:
    """`place`: of the stack, if it is one of this machine's. Raises as Client if there is nothing to be said."""
    services = {service.name: service for service in _supervised(place)} if place else {}
    supervised, status = set(services), None
    try:
        found = list(_answered(client))
        status = _status(client)
    except Unreachable as error:
        if not supervised:
            raise
        found = [Service("gateway", DOWN, error.message)]
    if status is not None:
        found += _told(status, supervised)
    for service in found:
        known = services.get(service.name)
        services[service.name] = _joined(known, service) if known else service
    return Standing(client.url, tuple(services.values()), status)


def _joined(known: Service, told: Service) -> Service:
    """A process may run and not be able to work."""
    is_worse = known.state == HEALTHY or told.state == DOWN
    return replace(
        known,
        state=told.state if is_worse else known.state,
        detail=told.detail or known.detail,
        version=told.version or known.version,
        address=told.address or known.address,
        replicas=told.replicas or known.replicas,
    )


def _supervised(place: Place) -> Iterator[Service]:
    state = read_state(place.state) if owner_of(place) is not None else None
    for process in state.processes if state else ():
        yield Service(process.name, process.state, pid=process.pid, port=process.port, starts=process.starts)


def _answered(client: Client) -> Iterator[Service]:
    health = client.health()
    yield Service("gateway", HEALTHY, "about to end" if health.draining else "", version=health.version)
    for check in health.checks:
        yield Service(check.name, HEALTHY if check.ok else DOWN, check.detail)


def _status(client: Client) -> StatusView | None:
    try:
        return client.status()
    except Refused as error:
        if not _is_away(error):
            raise
        return None


def _told(status: StatusView, supervised: Set[str]) -> Iterator[Service]:
    """Executors one by one, if there aren't too many; of a supervised stack, those that it has started."""
    for service in status.services:
        if service.name != "executor":
            yield _service(service)
        elif not service.healthy:
            yield replace(_service(service), name="executors")
        elif supervised:
            yield from (_executor(executor) for executor in status.executors if executor.name in supervised)
        elif len(status.executors) <= _MOST_EXECUTORS:
            yield from map(_executor, status.executors)
        else:
            yield replace(_service(service), name="executors")


def _service(told: ServiceView) -> Service:
    state = _STATES[told.healthy]
    return Service(told.name, state, told.detail, version=told.version, address=told.address, replicas=told.replicas)


def _executor(executor: ExecutorView) -> Service:
    seen = f"on {executor.host}, seen {ago(executor.heartbeat_at)}"
    return Service(executor.name, HEALTHY, seen, version=executor.version)


def _fault(service: Service) -> str:
    why = f": {service.detail}" if service.detail else ""
    return f"{service.name} {_FAULTS.get(service.state, 'is ' + service.state)}{why}"


def _is_away(error: FlowyardError) -> bool:
    return error.status == HTTPStatus.SERVICE_UNAVAILABLE
