"""The services beside the gateway, asked over HTTP how they are. What is wrong with them is an answer, not an error.

An answer is remembered for a second, and one that didn't come in time for ten: so a status takes two seconds at most,
and that rarely.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from flowyard.api.health import HealthView
from flowyard.api.status import AlertsView, AlertView, ServiceView
from flowyard_gateway.settings import GatewaySettings

WITHIN_S: Final = 2.0
MOST_ALERTS: Final = 100
_REMEMBERED_S: Final = 1.0
_SILENCE_REMEMBERED_S: Final = 10.0
_LONGEST_VERSION: Final = 60
T = TypeVar("T")


class Silent(Exception):
    """No answer, or none that makes sense. Its text is for people."""


class Neighbours:
    """`http`: asks nobody but them. What isn't in the settings isn't there."""

    def __init__(self, settings: GatewaySettings, http: httpx.AsyncClient) -> None:
        self._http = http
        self._prometheus_url = settings.prometheus_url
        asked: list[tuple[str, str, Callable[[str], Awaitable[ServiceView]]]] = [
            ("registry", settings.registry_url, self._ours("registry")),
            ("dashboard", settings.dashboard_url, self._ours("dashboard")),
            ("mlflow", settings.mlflow_url, self._mlflow),
            ("prometheus", settings.prometheus_url, self._prometheus),
        ]
        self._services = [_Remembered(_told_of(name, url, ask)) for name, url, ask in asked if url]
        self._alerts = _Remembered(self._firing)

    async def services(self) -> list[ServiceView]:
        """Never raises."""
        return list(await asyncio.gather(*(one.get() for one in self._services)))

    async def alerts(self) -> AlertsView | None:
        """None without a Prometheus. Never raises."""
        return await self._alerts.get() if self._prometheus_url else None

    def _ours(self, name: str) -> Callable[[str], Awaitable[ServiceView]]:
        async def ask(url: str) -> ServiceView:
            urls = await _replicas(url)
            told = await asyncio.gather(*map(self._health, urls), return_exceptions=True)
            answers = [one for one in told if isinstance(one, HealthView)]
            silent = [one for one in told if isinstance(one, BaseException)]
            wrong = [check.detail for one in answers for check in one.checks if not check.ok]
            wrong += ["it is about to end" for one in answers if one.draining] + [_why(one) for one in silent]
            return ServiceView(
                name=name,
                healthy=not silent and all(answer.ready for answer in answers),
                version=", ".join(sorted({answer.version for answer in answers if answer.version})) or None,
                address=_address(url),
                replicas=len(urls),
                detail="; ".join(sorted(set(wrong))),
            )

        return ask

    async def _health(self, url: str) -> HealthView:
        answer = await self._http.get(f"{url}/health/ready")
        if answer.status_code not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
            raise Silent(f"it answers {answer.status_code}")
        return HealthView.model_validate_json(answer.content)

    async def _mlflow(self, url: str) -> ServiceView:
        # Not /health: that one is fine without a database, too.
        (await self._http.get(f"{url}/api/2.0/mlflow/experiments/search?max_results=1")).raise_for_status()
        version = (await self._http.get(f"{url}/version")).text.strip()[:_LONGEST_VERSION]
        return ServiceView(name="mlflow", healthy=True, version=version or None, address=_address(url))

    async def _prometheus(self, url: str) -> ServiceView:
        answer = (await self._http.get(f"{url}/api/v1/status/buildinfo")).raise_for_status()
        version = _Built.model_validate_json(answer.content).data.version[:_LONGEST_VERSION]
        return ServiceView(name="prometheus", healthy=True, version=version, address=_address(url))

    async def _firing(self) -> AlertsView:
        try:
            async with asyncio.timeout(WITHIN_S):
                answer = (await self._http.get(f"{self._prometheus_url}/api/v1/alerts")).raise_for_status()
            alerts = _Alerts.model_validate_json(answer.content).data.alerts
            firing = [_alert(alert) for alert in alerts if alert.state == "firing"]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return AlertsView(firing=None, unreachable=_why(error))
        return AlertsView(firing=sorted(firing, key=lambda alert: alert.name)[:MOST_ALERTS], unreachable=None)


class _Remembered(Generic[T]):
    """An answer, asked for once for all who ask meanwhile."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._answers: list[T] = []

    async def get(self) -> T:
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if clock() >= self._until:
                begun = clock()
                self._answers = [await self._ask()]
                was_silent = clock() - begun >= WITHIN_S
                self._until = clock() + (_SILENCE_REMEMBERED_S if was_silent else _REMEMBERED_S)
            return self._answers[0]


def _told_of(name: str, url: str, ask: Callable[[str], Awaitable[ServiceView]]) -> Callable[[], Awaitable[ServiceView]]:
    async def told() -> ServiceView:
        try:
            async with asyncio.timeout(WITHIN_S):
                return await ask(url)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return ServiceView(name=name, healthy=False, address=_address(url), detail=_why(error))

    return told


async def _replicas(url: str) -> list[str]:
    """The same address for each machine that has the name: containers of one service have one name."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        # A certificate is for the name.
        return [url]
    found: set[str] = set()
    with suppress(OSError):
        loop = asyncio.get_running_loop()
        told = await loop.getaddrinfo(parts.hostname, parts.port or 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
        found = {str(address[4][0]) for address in told}
    if len(found) <= 1:
        return [url]
    port = f":{parts.port}" if parts.port else ""
    return [f"http://{address}{port}{parts.path}" for address in sorted(found)]


def _address(url: str) -> str:
    """Without what may be a password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _why(error: BaseException) -> str:
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return f"no answer within {WITHIN_S:g} s"
        case httpx.HTTPStatusError():
            return f"it answers {error.response.status_code}"
        case httpx.ConnectError():
            return "nobody answers there"
        case ValidationError():
            return "its answer makes no sense"
        case Silent():
            return str(error)
        case _:
            return type(error).__name__


class _Alert(BaseModel):
    """https://prometheus.io/docs/prometheus/latest/querying/api/#alerts"""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    state: str
    activeAt: str | None = None  # noqa: N815 - Prometheus'


class _AlertList(BaseModel):
    alerts: list[_Alert]


class _Alerts(BaseModel):
    data: _AlertList


class _BuildInfo(BaseModel):
    version: str


class _Built(BaseModel):
    data: _BuildInfo


def _alert(alert: _Alert) -> AlertView:
    labels = dict(alert.labels)
    name, severity = labels.pop("alertname", "unnamed"), labels.pop("severity", None)
    summary = alert.annotations.get("summary") or alert.annotations.get("description")
    return AlertView.model_validate(
        {"name": name, "severity": severity, "summary": summary, "since": alert.activeAt, "labels": labels}
    )
