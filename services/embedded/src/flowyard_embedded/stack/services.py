"""The services of a stack: the list of them, their ports, and the environment of each."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from pydantic import SecretStr

from flowyard.language.installation import HOOK_SECRETS, NOTHING, read_variables
from flowyard.settings import PREFIX
from flowyard_embedded.faults import PublicPortTaken
from flowyard_embedded.servers.accounts import SystemAccount
from flowyard_embedded.servers.ports import LOOPBACK, free_port, is_taken
from flowyard_embedded.stack.external import DATABASE_URL, external_url
from flowyard_embedded.stack.keys import SEALING_KEY, SIGNING_VARIABLE
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
_USERS: Final[Mapping[str, tuple[str, ...]]] = {"pygments": ("gateway",), "aiohttp": ("executor", "registry")}
"""The services that use these packages: to colour the code of chats, to call models and send notifications.

Others would import them, too, if they are there, as they aren't in their containers: httpx for its command line, and
NATS's client for WebSockets.
"""
_HOOKS: Final = ("gateway", "registry")
"""The services that verify webhooks, or sign them."""
_HOOK_VARIABLES: Final = f"{PREFIX}HOOK_VARIABLES"
_PLAIN: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME", "PYTHONPATH", "LD_LIBRARY_PATH"),
    f"{PREFIX}LOG_LEVEL",
    f"{PREFIX}SHELL_PROGRAMS",
)
"""What a sandbox gets of the environment, besides its own settings."""
_OF_SANDBOXES: Final = f"{PREFIX}SANDBOX_"
_SECRET: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each service listens on 127.0.0.1."""

    gateway: int
    dashboard: int
    registry: int
    executors: tuple[int, ...]
    sandboxes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """What the environments of the services are made from. `…_url`: the URL for the service of this name.

    `secret_key`: the file of the sealing key; None: there is none, or `environment` names it. `account`: that services
    run as; None: that of this process. `webhook_secret`: as `secret_key`, of the secret that signs notifications.
    """

    data: Path
    ports: Ports
    database_url: Callable[[str], SecretStr]
    nats_url: Callable[[str], SecretStr]
    environment: Mapping[str, str] = field(repr=False)
    secret_key: Path | None = None
    account: SystemAccount | None = None
    webhook_secret: Path | None = None


Services: TypeAlias = Callable[[Surroundings], Sequence[ServiceSpec]]


def our_services(around: Surroundings) -> list[ServiceSpec]:
    """The services that start slowest come first."""
    ports = around.ports
    dashboard = url_of(ports.dashboard)
    addresses = {
        "REGISTRY_URL": url_of(ports.registry),
        "DASHBOARD_URL": dashboard,
        "DASHBOARD_PUBLIC_URL": around.environment.get("FLOWYARD_DASHBOARD_PUBLIC_URL", dashboard),
    }
    return [
        *(_executor(around, number, port) for number, port in enumerate(ports.executors, start=1)),
        _spec(around, "gateway", ports.gateway, PUBLIC_END, grace_s=_PUBLIC_GRACE_S, settings=addresses),
        _spec(around, "dashboard", ports.dashboard, PUBLIC_END, grace_s=_PUBLIC_GRACE_S),
        _spec(around, "registry", ports.registry, REGISTRY_ENDS, grace_s=_GRACE_S),
        *(_sandbox(around, number, port) for number, port in enumerate(ports.sandboxes, start=1)),
    ]


def url_of(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def choose_ports(first: int, *, executors: int, sandboxes: int) -> Ports:
    """`first`: the gateway's; the dashboard gets the next. 0: any free ones. Raises PublicPortTaken."""
    chosen = [_free("gateway", first), _free("dashboard", first + 1)] if first else []
    while len(chosen) < 3 + executors + sandboxes:
        port = free_port()
        if port not in chosen:
            chosen.append(port)
    gateway, dashboard, registry, *others = chosen
    return Ports(gateway, dashboard, registry, tuple(others[:executors]), tuple(others[executors:]))


def _free(service: str, port: int) -> int:
    if is_taken(port):
        raise PublicPortTaken(service, port)
    return port


def _executor(around: Surroundings, number: int, port: int) -> ServiceSpec:
    name = f"executor-{number}"
    unique_name = name
    if external_url(DATABASE_URL, around.environment) is not None:
        # Other stacks may share the database, and names must be unique there.
        place = f"{socket.gethostname()}:{around.data}"
        unique_name += f"-{hashlib.sha256(place.encode()).hexdigest()[:6]}"
    settings = {"EXECUTOR_NAME": unique_name, "DRAIN_S": str(_DRAIN_S)}
    if not any(f"{PREFIX}LOG_PROMPTS{end}" in around.environment for end in ("", "_FILE")):
        # On one's own machine: who works on a workflow wants to see what it asks.
        settings["LOG_PROMPTS"] = "true"
    spec = _spec(around, "executor", port, EXECUTORS_END, name=name, grace_s=_GRACE_S, settings=settings)
    return replace(spec, patience_s=_DRAIN_S + spec.patience_s)


def _sandbox(around: Surroundings, number: int, port: int) -> ServiceSpec:
    """It gets no variable but its own settings: no database, no key, nothing of the user's."""
    name = f"sandbox-{number}"
    set_here = {
        "NATS_URL": around.nats_url("sandbox").get_secret_value(),
        "HOST": LOOPBACK,
        "PORT": str(port),
        "GRACE_S": str(_DRAIN_S),
        "SANDBOX_NAME": name,
    }
    own = {
        key: value
        for key, value in around.environment.items()
        if key in _PLAIN or (key.startswith(_OF_SANDBOXES) and key.removeprefix(PREFIX) not in set_here)
    }
    environment = own | {f"{PREFIX}{key}": value for key, value in set_here.items()}
    if around.account is not None:
        environment["HOME"] = "/nonexistent"
    line = command(around.data, name, "flowyard_sandbox.main", ["aiohttp", "pygments"])
    patience_s = _DRAIN_S + 2 * _SLACK_S
    return ServiceSpec(name, line, environment, port, EXECUTORS_END, patience_s, account=around.account)


def _spec(
    around: Surroundings,
    service: str,
    port: int,
    end_order: int,
    *,
    grace_s: float,
    settings: Mapping[str, str] = MappingProxyType({}),
    name: str | None = None,
) -> ServiceSpec:
    all_settings = {
        "DATABASE_URL": around.database_url(service).get_secret_value(),
        "NATS_URL": around.nats_url(service).get_secret_value(),
        "HOST": LOOPBACK,
        **({} if external_url(DATABASE_URL, around.environment) else {"DISK": str(around.data)}),
        "PORT": str(port),
        "GRACE_S": str(grace_s),
        **({"SECRET_KEY_FILE": str(around.secret_key)} if around.secret_key and service in _SEAL else {}),
        **({"WEBHOOK_SECRET_FILE": str(around.webhook_secret)} if around.webhook_secret and service in _HOOKS else {}),
        **settings,
    }
    unused = [package for package, services in _USERS.items() if service not in services]
    line = command(around.data, name or service, f"flowyard_{service}.main", unused)
    users = around.environment if service == "executor" else _without_keys(around.environment, service)
    for secret, readers in ((SEALING_KEY, _SEAL), (SIGNING_VARIABLE, _HOOKS)):
        if service not in readers:
            users = {key: value for key, value in users.items() if not key.startswith(secret)}
    set_here = {f"{PREFIX}{key}": value for key, value in all_settings.items()}
    # A service refuses to start if both a variable and its file are set.
    environment = {key: value for key, value in users.items() if key.removesuffix("_FILE") not in set_here} | set_here
    if around.account is not None:
        # Root's home is closed to it: what looks for a file there would fail instead of finding none.
        environment["HOME"] = "/nonexistent"
    patience_s = grace_s + _SLACK_S
    return ServiceSpec(name or service, line, environment, port, end_order, patience_s, account=around.account)


def _without_keys(environment: Mapping[str, str], service: str) -> dict[str, str]:
    """Only executors talk to models, so no other service gets a variable that may be a key.

    Gateway and registry get those that webhooks may name. If that setting is wrong, they say so themselves.
    """
    for_hooks = NOTHING
    if service in _HOOKS:
        with suppress(ValueError):
            for_hooks = read_variables(environment.get(_HOOK_VARIABLES) or HOOK_SECRETS)
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) or for_hooks.allow(name) or not any(word in name.upper() for word in _SECRET)
    }
