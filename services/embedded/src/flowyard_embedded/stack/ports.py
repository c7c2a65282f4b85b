"""Which service listens where."""

from __future__ import annotations

from dataclasses import dataclass

from flowyard_embedded.servers import ports
from flowyard_embedded.servers.faults import PortTaken
from flowyard_embedded.stack.faults import PublicPortTaken


@dataclass(frozen=True, slots=True)
class Ports:
    gateway: int
    dashboard: int
    registry: int
    executors: tuple[int, ...]


def choose_ports(asked: int, *, executors: int) -> Ports:
    """The gateway gets the port that was asked for and the dashboard the next; 0: any. Raises PublicPortTaken."""
    chosen = [_free("gateway", asked), _free("dashboard", asked + 1)] if asked else []
    while len(chosen) < 3 + executors:
        port = ports.start_on(None, "a service", _as_it_is)
        if port not in chosen:
            chosen.append(port)
    gateway, dashboard, registry, *others = chosen
    return Ports(gateway, dashboard, registry, tuple(others))


def _free(service: str, port: int) -> int:
    try:
        return ports.start_on(port, service, _as_it_is)
    except PortTaken as error:
        raise PublicPortTaken(service, port) from error


def _as_it_is(port: int) -> int:
    return port
