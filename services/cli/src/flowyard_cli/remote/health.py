"""The health of a stack: from its supervisor, if that runs here, and from its gateway."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any, Final

from flowyard.api.client import Client
from flowyard.api.refusals import Refused, Unreachable
from flowyard.api.status import AlertView, ExecutorView, ServiceView, StatusView
from flowyard_cli.show.tables import ago
from flowyard_embedded.stack.place import Place, owner_of
from flowyard_embedded.stack.state import read_state

HEALTHY: Final = "healthy"
DOWN: Final = "down"
UNKNOWN: Final = "unknown"
_MOST_EXECUTORS: Final = 8
"""With more executors, they are shown in a single line."""
_NO_FAULTS: Final = frozenset({"info", "warning"})
"""Alerts of these severities don't mean that something is broken."""
_STATES: Final = {True: HEALTHY, False: DOWN, None: UNKNOWN}


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service or server. `state`: healthy, starting, silent, down or unknown.

    `starts`: None if no supervisor is known.
    """

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
class StackHealth:
    """`status`: None if the gateway doesn't know it."""

    url: str
    services: tuple[ServiceStatus, ...]
    status: StatusView | None

    @property
    def wrong(self) -> list[str]:
        """What is wrong, a line each."""
        faults = [_fault(service) for service in self.services if service.state != HEALTHY]
        if self.status is not None:
            if orphaned := self.status.queue.orphaned:
                faults.append(f"{orphaned} orphaned: no executor will run these again; this is a bug, please report it")
            faults += [f"{alert.name} fires" for alert in firing(self.status) if alert.severity not in _NO_FAULTS]
        return faults

    def as_data(self) -> dict[str, Any]:
        status = self.status.model_dump(mode="json") if self.status else dict.fromkeys(StatusView.model_fields)
        services = [asdict(service) for service in self.services]
        return {"ok": not self.wrong, "wrong": self.wrong, "url": self.url, **status, "services": services}


def firing(status: StatusView) -> list[AlertView]:
    return list(status.alerts.firing or ()) if status.alerts else []


def stack_health(client: Client, place: Place | None) -> StackHealth:
    """`place`: of the stack, if it is on this machine. Raises what Client raises if nothing is known of the stack."""
    services = {service.name: service for service in _supervised(place)} if place else {}
    supervised, status = set(services), None
    try:
        answers = list(_from_gateway(client))
        status = _status(client)
    except Unreachable as error:
        if not supervised:
            raise
        answers = [ServiceStatus("gateway", DOWN, error.message)]
    if status is not None:
        answers += _from_status(status, supervised)
    for service in answers:
        known = services.get(service.name)
        services[service.name] = _joined(known, service) if known else service
    return StackHealth(client.url, tuple(services.values()), status)


def _joined(known: ServiceStatus, answer: ServiceStatus) -> ServiceStatus:
    """A process that runs may still be unable to work."""
    is_worse = known.state == HEALTHY or answer.state == DOWN
    return replace(
        known,
        state=answer.state if is_worse else known.state,
        detail=answer.detail or known.detail,
        version=answer.version or known.version,
        address=answer.address or known.address,
        replicas=answer.replicas or known.replicas,
    )


def _supervised(place: Place) -> Iterator[ServiceStatus]:
    state = read_state(place.state) if owner_of(place) is not None else None
    for process in state.processes if state else ():
        yield ServiceStatus(process.name, process.state, pid=process.pid, port=process.port, starts=process.starts)


def _from_gateway(client: Client) -> Iterator[ServiceStatus]:
    health = client.health()
    yield ServiceStatus("gateway", HEALTHY, "about to end" if health.draining else "", version=health.version)
    for check in health.checks:
        yield ServiceStatus(check.name, HEALTHY if check.ok else DOWN, check.detail)


def _status(client: Client) -> StatusView | None:
    try:
        return client.status()
    except Refused as error:
        if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return None


def _from_status(status: StatusView, supervised: Set[str]) -> Iterator[ServiceStatus]:
    """The services, and each executor unless there are many; of a supervised stack only its own executors."""
    for service in status.services:
        if service.name != "executor":
            yield _service(service)
        elif not status.executors:
            yield replace(_service(service), name="executors")
        elif supervised:
            yield from (_executor(executor) for executor in status.executors if executor.name in supervised)
        elif len(status.executors) <= _MOST_EXECUTORS:
            yield from map(_executor, status.executors)
        else:
            yield replace(_service(service), name="executors")


def _service(view: ServiceView) -> ServiceStatus:
    state = _STATES[view.healthy]
    return ServiceStatus(
        view.name, state, view.detail, version=view.version, address=view.address, replicas=view.replicas
    )


def _executor(executor: ExecutorView) -> ServiceStatus:
    seen = f"on {executor.host}, seen {ago(executor.heartbeat_at)}"
    detail = ", ".join(filter(None, (seen, executor.detail)))
    return ServiceStatus(executor.name, _STATES[executor.healthy], detail, version=executor.version)


def _fault(service: ServiceStatus) -> str:
    state = "may be well or not" if service.state == UNKNOWN else f"is {service.state}"
    return f"{service.name} {state}" + (f": {service.detail}" if service.detail else "")
