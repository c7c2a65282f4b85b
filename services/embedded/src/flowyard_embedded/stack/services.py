"""The services of a stack: the list of them, and what each is told."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import SecretStr

from flowyard.settings import PREFIX
from flowyard_embedded.servers.ports import LOOPBACK
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.leash import command
from flowyard_embedded.stack.ports import Ports
from flowyard_embedded.stack.sealing_key import VARIABLE
from flowyard_embedded.stack.service import ServiceSpec

PUBLIC_END_FIRST: Final = 0
EXECUTORS_END: Final = 1
REGISTRY_ENDS: Final = 2
NATS_ENDS: Final = 3
POSTGRES_ENDS: Final = 4

# Together with the servers' own time less than what `Stack.end` has for all.
_PUBLIC_GRACE_S: Final = 2.0
_DRAIN_S: Final = 3.0
_GRACE_S: Final = 0.5
_SLACK_S: Final = 0.5


@dataclass(frozen=True)
class Surroundings:
    """What services are told of each other. `nats_url`: by the name of the service that uses it.

    `secret_key`: the file of the key for secret inputs; None: there is none, or the environment names it.
    """

    data: Path
    ports: Ports
    database_url: SecretStr
    nats_url: Callable[[str], SecretStr]
    environment: Mapping[str, str] = field(repr=False)
    secret_key: Path | None = None


Services: TypeAlias = Callable[[Surroundings], Sequence[ServiceSpec]]


def our_services(around: Surroundings) -> list[ServiceSpec]:
    """The slowest to start come first."""
    return [*_executors(around), _gateway(around), _dashboard(around), _registry(around)]


def url_of(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _executors(around: Surroundings) -> list[ServiceSpec]:
    mine = _mark(around)
    return [
        _spec(
            around,
            "executor",
            name=f"executor-{number}",
            port=port,
            ends=EXECUTORS_END,
            patience_s=_DRAIN_S + _GRACE_S + _SLACK_S,
            told={"EXECUTOR_NAME": f"executor-{number}{mine}", "DRAIN_S": str(_DRAIN_S), "GRACE_S": str(_GRACE_S)},
        )
        for number, port in enumerate(around.ports.executors, start=1)
    ]


def _mark(around: Surroundings) -> str:
    """Sets the executors of this stack apart where the database may have others: a name is one executor's alone."""
    if external_url(DATABASE_URL, around.environment) is None:
        return ""
    place = f"{socket.gethostname()}:{around.data}"
    return f"-{hashlib.sha256(place.encode()).hexdigest()[:6]}"


def _gateway(around: Surroundings) -> ServiceSpec:
    beside = {"REGISTRY_URL": url_of(around.ports.registry), "DASHBOARD_URL": url_of(around.ports.dashboard)}
    told = {**beside, "GRACE_S": str(_PUBLIC_GRACE_S)}
    patience = _PUBLIC_GRACE_S + _SLACK_S
    return _spec(around, "gateway", port=around.ports.gateway, ends=PUBLIC_END_FIRST, patience_s=patience, told=told)


def _dashboard(around: Surroundings) -> ServiceSpec:
    told = {"GRACE_S": str(_PUBLIC_GRACE_S)}
    patience = _PUBLIC_GRACE_S + _SLACK_S
    return _spec(
        around, "dashboard", port=around.ports.dashboard, ends=PUBLIC_END_FIRST, patience_s=patience, told=told
    )


def _registry(around: Surroundings) -> ServiceSpec:
    told = {"GRACE_S": str(_GRACE_S)}
    patience = _GRACE_S + _SLACK_S
    return _spec(around, "registry", port=around.ports.registry, ends=REGISTRY_ENDS, patience_s=patience, told=told)


def _spec(
    around: Surroundings,
    service: str,
    *,
    port: int,
    ends: int,
    patience_s: float,
    told: Mapping[str, str],
    name: str | None = None,
) -> ServiceSpec:
    all_told = {
        "DATABASE_URL": around.database_url.get_secret_value(),
        "NATS_URL": around.nats_url(service).get_secret_value(),
        "HOST": LOOPBACK,
        "PORT": str(port),
        **({"SECRET_KEY_FILE": str(around.secret_key)} if around.secret_key and service in _SEAL else {}),
        **told,
    }
    name = name or service
    line = command(around.data, name, f"flowyard_{service}.main")
    ours = around.environment if service == "executor" else _without_keys(around.environment)
    if service not in _SEAL:
        ours = {key: value for key, value in ours.items() if not key.startswith(VARIABLE)}
    return ServiceSpec(name, line, _environment(ours, all_told), port, ends, patience_s)


def _without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Only executors talk to models: nobody else is given what may be a key."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) or not any(word in name.upper() for word in _SECRET)
    }


_SEAL: Final = ("executor", "gateway", "dashboard")
"""Who takes secret inputs, and who opens them."""
_SECRET: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def _environment(ours: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """The user's, for it has the keys of models. Services refuse a variable beside the file that holds it."""
    set_here = {f"{PREFIX}{name}": value for name, value in told.items()}
    refused = {f"{name}_FILE" for name in set_here}
    return {**{name: value for name, value in ours.items() if name not in refused}, **set_here}
