"""Health and versions of the other services, requested over HTTP. A failed request is a result, not an error.

A result is kept for a second, and that of a request that timed out for ten: a status takes two seconds at most, and
rarely so long.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from flowyard.api.status import AlertsView, AlertView, HealthView, ServiceView
from flowyard.web.recent import Recent
from flowyard_gateway.settings import GatewaySettings

TIMEOUT_S: Final = 2.0
MOST_ALERTS: Final = 100
_KEEP_S: Final = 1.0
_KEEP_TIMEOUT_S: Final = 10.0
_LONGEST_VERSION: Final = 60


class UnexpectedStatus(Exception):
    """A service answered with another status than expected. Its text is for people."""


class OtherServices:
    """Requests the state of the services whose addresses are in the settings."""

    def __init__(self, settings: GatewaySettings, http: httpx.AsyncClient) -> None:
        self._http = http
        self._prometheus_url = settings.prometheus_url
        requests: list[tuple[str, str, Callable[[str], Awaitable[ServiceView]]]] = [
            ("registry", settings.registry_url, partial(self._own_service, "registry")),
            ("dashboard", settings.dashboard_url, partial(self._own_service, "dashboard")),
            ("mlflow", settings.mlflow_url, self._mlflow),
            ("prometheus", settings.prometheus_url, self._prometheus),
        ]
        fetches = [partial(_fetch, name, url, request) for name, url, request in requests if url]
        self._services = [Recent(fetch, keep_s=_keep_s) for fetch in fetches]
        self._alerts = Recent(self._fetch_alerts, keep_s=_keep_s)

    async def services(self) -> list[ServiceView]:
        """Never raises."""
        return list(await asyncio.gather(*(service.get() for service in self._services)))

    async def alerts(self) -> AlertsView | None:
        """None if no Prometheus is configured. Never raises."""
        return await self._alerts.get() if self._prometheus_url else None

    async def _own_service(self, name: str, url: str) -> ServiceView:
        urls = await _replicas(url)
        results = await asyncio.gather(*map(self._health, urls), return_exceptions=True)
        answers = [result for result in results if isinstance(result, HealthView)]
        errors = [result for result in results if isinstance(result, BaseException)]
        problems = [check.detail for answer in answers for check in answer.checks if not check.ok]
        problems += ["it is shutting down" for answer in answers if answer.draining] + list(map(_reason, errors))
        return ServiceView(
            name=name,
            healthy=not errors and all(answer.ready for answer in answers),
            version=", ".join(sorted({answer.version for answer in answers if answer.version})) or None,
            address=_address(url),
            replicas=len(urls),
            detail="; ".join(sorted(set(problems))),
        )

    async def _health(self, url: str) -> HealthView:
        answer = await self._http.get(f"{url}/health/ready")
        if answer.status_code not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
            raise UnexpectedStatus(f"it answers with status {answer.status_code}")
        return HealthView.model_validate_json(answer.content)

    async def _mlflow(self, url: str) -> ServiceView:
        # Not /health, which succeeds even without a database.
        (await self._http.get(f"{url}/api/2.0/mlflow/experiments/search?max_results=1")).raise_for_status()
        version = (await self._http.get(f"{url}/version")).text.strip()[:_LONGEST_VERSION]
        return ServiceView(name="mlflow", healthy=True, version=version or None, address=_address(url))

    async def _prometheus(self, url: str) -> ServiceView:
        answer = (await self._http.get(f"{url}/api/v1/status/buildinfo")).raise_for_status()
        version = _BuildInfo.model_validate_json(answer.content).data.version[:_LONGEST_VERSION]
        return ServiceView(name="prometheus", healthy=True, version=version, address=_address(url))

    async def _fetch_alerts(self) -> AlertsView:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = (await self._http.get(f"{self._prometheus_url}/api/v1/alerts")).raise_for_status()
            alerts = _Alerts.model_validate_json(answer.content).data.alerts
            firing = [_alert(alert) for alert in alerts if alert.state == "firing"]
        except Exception as error:  # noqa: BLE001 - any error is a result
            return AlertsView(firing=None, unreachable=_reason(error))
        return AlertsView(firing=sorted(firing, key=lambda alert: alert.name)[:MOST_ALERTS], unreachable=None)


def _keep_s(took_s: float) -> float:
    return _KEEP_TIMEOUT_S if took_s >= TIMEOUT_S else _KEEP_S


async def _fetch(name: str, url: str, request: Callable[[str], Awaitable[ServiceView]]) -> ServiceView:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await request(url)
    except Exception as error:  # noqa: BLE001 - any error is a result
        return ServiceView(name=name, healthy=False, address=_address(url), detail=_reason(error))


async def _replicas(url: str) -> list[str]:
    """The address of each replica: the name in the URL may have several, as that of a service in Docker."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        # A certificate is valid for the name, not for the addresses.
        return [url]
    hosts: set[str] = set()
    with suppress(OSError):
        look_up = asyncio.get_running_loop().getaddrinfo
        addresses = await look_up(parts.hostname, parts.port or 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
        hosts = {str(address[4][0]) for address in addresses}
    if len(hosts) <= 1:
        return [url]
    port = f":{parts.port}" if parts.port else ""
    return [f"http://{host}{port}{parts.path}" for host in sorted(hosts)]


def _address(url: str) -> str:
    """The URL without its scheme, user and password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _reason(error: BaseException) -> str:
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return f"no answer within {TIMEOUT_S:g} s"
        case httpx.HTTPStatusError():
            return f"it answers with status {error.response.status_code}"
        case httpx.ConnectError():
            return "nothing listens there"
        case ValidationError():
            return "its answer can't be read"
        case UnexpectedStatus():
            return str(error)
        case _:
            return type(error).__name__


class _Alert(BaseModel):
    """https://prometheus.io/docs/prometheus/latest/querying/api/#alerts"""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    state: str
    activeAt: str | None = None  # noqa: N815 - Prometheus' name


class _AlertList(BaseModel):
    alerts: list[_Alert]


class _Alerts(BaseModel):
    data: _AlertList


class _Build(BaseModel):
    version: str


class _BuildInfo(BaseModel):
    data: _Build


def _alert(alert: _Alert) -> AlertView:
    labels = dict(alert.labels)
    name, severity = labels.pop("alertname", "unnamed"), labels.pop("severity", None)
    summary = alert.annotations.get("summary") or alert.annotations.get("description")
    return AlertView.model_validate(
        {"name": name, "severity": severity, "summary": summary, "since": alert.activeAt, "labels": labels}
    )
