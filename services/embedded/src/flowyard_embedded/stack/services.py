"""The services of a stack: the list of them, their ports, and the environment of each."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import SecretStr

from flowyard.settings import PREFIX
from flowyard_embedded.faults import PublicPortTaken
from flowyard_embedded.servers.ports import LOOPBACK, free_port, is_taken
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.keys import SEALING_KEY
from flowyard_embedded.stack.leash import command
from flowyard_embedded.stack.service import ServiceSpec

PUBLIC_END: Final = 0
EXECUTORS_END: Final = 1
REGISTRY_ENDS: Final = 2
NATS_ENDS: Final = 3
POSTGRES_ENDS: Final = 4
"""The order in which they end, as Supervised.end_order."""

# All of these, and the time that the servers take, must fit into `stack.END_WITHIN_S`.
_PUBLIC_GRACE_S: Final = 2.0
_DRAIN_S: Final = 3.0
_GRACE_S: Final = 0.5
_SLACK_S: Final = 0.5

_SEAL: Final = ("executor", "gateway", "dashboard")
"""The services that seal or open secret inputs."""
_SECRET: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each service listens on 127.0.0.1."""

    gateway: int
    dashboard: int
    registry: int
    executors: tuple[int, ...]


@dataclass(frozen=True)
class Surroundings:
    """What the environments of the services are made from. `nats_url`: the URL for the service of this name.

    `secret_key`: the file of the sealing key; None: there is none, or `environment` names it.
    """

    data: Path
    ports: Ports
    database_url: SecretStr
    nats_url: Callable[[str], SecretStr]
    environment: Mapping[str, str] = field(repr=False)
    secret_key: Path | None = None


Services: TypeAlias = Callable[[Surroundings], Sequence[ServiceSpec]]


def our_services(around: Surroundings) -> list[ServiceSpec]:
    """The services that start slowest come first."""
    return [*_executors(around), _gateway(around), _dashboard(around), _registry(around)]


def url_of(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def choose_ports(first: int, *, executors: int) -> Ports:
    """`first`: the gateway's; the dashboard gets the next. 0: any free ones. Raises PublicPortTaken."""
    chosen = [_free("gateway", first), _free("dashboard", first + 1)] if first else []
    while len(chosen) < 3 + executors:
        port = free_port()
        if port not in chosen:
            chosen.append(port)
    gateway, dashboard, registry, *others = chosen
    return Ports(gateway, dashboard, registry, tuple(others))


def _free(service: str, port: int) -> int:
    if is_taken(port):
        raise PublicPortTaken(service, port)
    return port


def _executors(around: Surroundings) -> list[ServiceSpec]:
    suffix = _suffix(around)
    return [
        _spec(
            around,
            "executor",
            name=f"executor-{number}",
            port=port,
            end_order=EXECUTORS_END,
            patience_s=_DRAIN_S + _GRACE_S + _SLACK_S,
            settings={
                "EXECUTOR_NAME": f"executor-{number}{suffix}",
                "DRAIN_S": str(_DRAIN_S),
                "GRACE_S": str(_GRACE_S),
            },
        )
        for number, port in enumerate(around.ports.executors, start=1)
    ]


def _suffix(around: Surroundings) -> str:
    """A suffix for the names of executors where other stacks may share the database: names must be unique there."""
    if external_url(DATABASE_URL, around.environment) is None:
        return ""
    place = f"{socket.gethostname()}:{around.data}"
    return f"-{hashlib.sha256(place.encode()).hexdigest()[:6]}"


def _gateway(around: Surroundings) -> ServiceSpec:
    return _spec(
        around,
        "gateway",
        port=around.ports.gateway,
        end_order=PUBLIC_END,
        patience_s=_PUBLIC_GRACE_S + _SLACK_S,
        settings={
            "REGISTRY_URL": url_of(around.ports.registry),
            "DASHBOARD_URL": url_of(around.ports.dashboard),
            "GRACE_S": str(_PUBLIC_GRACE_S),
        },
    )


def _dashboard(around: Surroundings) -> ServiceSpec:
    return _spec(
        around,
        "dashboard",
        port=around.ports.dashboard,
        end_order=PUBLIC_END,
        patience_s=_PUBLIC_GRACE_S + _SLACK_S,
        settings={"GRACE_S": str(_PUBLIC_GRACE_S)},
    )


def _registry(around: Surroundings) -> ServiceSpec:
    return _spec(
        around,
        "registry",
        port=around.ports.registry,
        end_order=REGISTRY_ENDS,
        patience_s=_GRACE_S + _SLACK_S,
        settings={"GRACE_S": str(_GRACE_S)},
    )


def _spec(
    around: Surroundings,
    service: str,
    *,
    port: int,
    end_order: int,
    patience_s: float,
    settings: Mapping[str, str],
    name: str | None = None,
) -> ServiceSpec:
    all_settings = {
        "DATABASE_URL": around.database_url.get_secret_value(),
        "NATS_URL": around.nats_url(service).get_secret_value(),
        "HOST": LOOPBACK,
        "PORT": str(port),
        **({"SECRET_KEY_FILE": str(around.secret_key)} if around.secret_key and service in _SEAL else {}),
        **settings,
    }
    name = name or service
    line = command(around.data, name, f"flowyard_{service}.main")
    users = around.environment if service == "executor" else _without_keys(around.environment)
    if service not in _SEAL:
        users = {key: value for key, value in users.items() if not key.startswith(SEALING_KEY)}
    return ServiceSpec(name, line, _environment(users, all_settings), port, end_order, patience_s)


def _without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Only executors talk to models, so no other service gets a variable that may be a key."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) or not any(word in name.upper() for word in _SECRET)
    }


def _environment(users: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """`users`: the user's own variables; executors find the keys of models there."""
    set_here = {f"{PREFIX}{name}": value for name, value in settings.items()}
    # A service refuses to start if both a variable and its file are set.
    refused = {f"{name}_FILE" for name in set_here}
    return {**{name: value for name, value in users.items() if name not in refused}, **set_here}
