"""Looks over HTTP how the other services are. What is wrong with them is a result, not an error.

A result is kept for a second, and for ten if there was no answer in time: so a status takes two seconds at most, and
that rarely.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from flowyard.api.health import HealthView
from flowyard.api.status import AlertsView, AlertView, ServiceView
from flowyard.web.recent import Recent
from flowyard_gateway.settings import GatewaySettings

WITHIN_S: Final = 2.0
MOST_ALERTS: Final = 100
_KEPT_S: Final = 1.0
_SILENCE_KEPT_S: Final = 10.0
_LONGEST_VERSION: Final = 60
Look: TypeAlias = Callable[[str], Awaitable[ServiceView]]
"""Looks how the service at a URL is."""


class Silent(Exception):
    """A service gave no answer, or one that can't be read. The text is for people."""


class Neighbours:
    """`http`: a client for these services only. A service without a URL in the settings isn't shown."""

    def __init__(self, settings: GatewaySettings, http: httpx.AsyncClient) -> None:
        self._http = http
        self._prometheus_url = settings.prometheus_url
        services: list[tuple[str, str, Look]] = [
            ("registry", settings.registry_url, self._ours("registry")),
            ("dashboard", settings.dashboard_url, self._ours("dashboard")),
            ("mlflow", settings.mlflow_url, self._mlflow),
            ("prometheus", settings.prometheus_url, self._prometheus),
        ]
        self._services = [
            Recent(partial(_status, name, url, look), keep_s=_keep_s) for name, url, look in services if url
        ]
        self._alerts = Recent(self._firing, keep_s=_keep_s)

    async def services(self) -> list[ServiceView]:
        """Never raises."""
        return list(await asyncio.gather(*(service.get() for service in self._services)))

    async def alerts(self) -> AlertsView | None:
        """None without a Prometheus. Never raises."""
        return await self._alerts.get() if self._prometheus_url else None

    def _ours(self, name: str) -> Look:
        async def look(url: str) -> ServiceView:
            urls = await _replicas(url)
            results = await asyncio.gather(*map(self._health, urls), return_exceptions=True)
            answers = [result for result in results if isinstance(result, HealthView)]
            errors = [result for result in results if isinstance(result, BaseException)]
            wrong = [check.detail for answer in answers for check in answer.checks if not check.ok]
            wrong += ["it is draining" for answer in answers if answer.draining] + [_why(error) for error in errors]
            return ServiceView(
                name=name,
                healthy=not errors and all(answer.ready for answer in answers),
                version=", ".join(sorted({answer.version for answer in answers if answer.version})) or None,
                address=_address(url),
                replicas=len(urls),
                detail="; ".join(sorted(set(wrong))),
            )

        return look

    async def _health(self, url: str) -> HealthView:
        answer = await self._http.get(f"{url}/health/ready")
        if answer.status_code not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
            raise Silent(f"it answers {answer.status_code}")
        return HealthView.model_validate_json(answer.content)

    async def _mlflow(self, url: str) -> ServiceView:
        # Not /health: it is fine without a database, too.
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


async def _status(name: str, url: str, look: Look) -> ServiceView:
    """Never raises: what is wrong is the answer."""
    try:
        async with asyncio.timeout(WITHIN_S):
            return await look(url)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return ServiceView(name=name, healthy=False, address=_address(url), detail=_why(error))


def _keep_s(took_s: float) -> float:
    return _SILENCE_KEPT_S if took_s >= WITHIN_S else _KEPT_S


async def _replicas(url: str) -> list[str]:
    """The URL of each machine that the name stands for: containers of one service share a name."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        # A certificate is for the name.
        return [url]
    hosts: set[str] = set()
    with suppress(OSError):
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(parts.hostname, parts.port or 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
        hosts = {str(info[4][0]) for info in infos}
    if len(hosts) <= 1:
        return [url]
    port = f":{parts.port}" if parts.port else ""
    return [f"http://{address}{port}{parts.path}" for address in sorted(hosts)]


def _address(url: str) -> str:
    """Without the user and the password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _why(error: BaseException) -> str:
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return f"no answer within {WITHIN_S:g} s"
        case httpx.HTTPStatusError():
            return f"it answers {error.response.status_code}"
        case httpx.ConnectError():
            return "nothing listens there"
        case ValidationError():
            return "its answer can't be read"
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
