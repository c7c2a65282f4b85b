"""The API documents of all services, without servers. As a program, it writes them to a folder: for `make lint-api`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from flowyard.api.public_events import PUBLIC_EVENTS
from flowyard.telemetry.metrics import Metrics
from flowyard_dashboard.app import dashboard_app
from flowyard_executor.main import executor_app
from flowyard_gateway.app import gateway_app
from flowyard_registry.app import registry_app
from flowyard_registry.asyncapi import asyncapi_document


@dataclass
class _Nothing:
    """In place of a part: an application that receives no request calls none of them."""

    body_limit: int = 1
    form_limit: int = 1
    trusted_proxies: tuple[()] = ()
    metrics: Any = None
    shutting_down: asyncio.Event = field(default_factory=asyncio.Event)

    def __getattr__(self, name: str) -> Any:
        return _Nothing()


_APPLICATIONS: Final[dict[str, Callable[[Any], FastAPI]]] = {
    "gateway": gateway_app,
    "registry": registry_app,
    "executor": executor_app,
    "dashboard": dashboard_app,
}


def api_document(service: str) -> dict[str, Any]:
    """The OpenAPI document of a service."""
    parts = _Nothing(metrics=Metrics(service=service, version="0"))
    return _APPLICATIONS[service](parts).openapi()


def write_documents(folder: Path) -> None:
    for service in _APPLICATIONS:
        (folder / f"{service}.openapi.json").write_text(json.dumps(api_document(service), indent=1), encoding="utf-8")
    events = asyncapi_document(PUBLIC_EVENTS)
    (folder / "events.asyncapi.json").write_text(json.dumps(events, indent=1), encoding="utf-8")


if __name__ == "__main__":
    write_documents(Path(sys.argv[1]))
