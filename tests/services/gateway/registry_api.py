"""What the gateway has to know of the registry's API. As a program, it writes that down where the gateway reads it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from flowyard.telemetry.metrics import Metrics
from flowyard_gateway.proxy import REGISTRY_API
from flowyard_registry.app import registry_app
from flowyard_registry.parts import RegistryParts
from flowyard_registry.settings import RegistrySettings


def registry_api() -> dict[str, Any]:
    """The registry's paths but those that every service has, and the schemas."""
    document = registry_app(_no_parts()).openapi()
    paths = {path: operations for path, operations in document["paths"].items() if not path.startswith("/health")}
    schemas = {
        name: schema
        for name, schema in document["components"]["schemas"].items()
        if name not in ("Liveness", "Readiness", "CheckResult", "Problem")
    }
    return {"paths": paths, "components": {"schemas": schemas}}


def _no_parts() -> RegistryParts:
    """Enough for an application that receives no request."""
    nothing = cast("Any", None)
    settings = RegistrySettings(
        database_url=cast("Any", "postgresql://nobody@nowhere/nothing"), nats_url=cast("Any", "nats://nowhere")
    )
    names = RegistryParts.__slots__
    values = dict.fromkeys(names, nothing) | {
        "settings": settings,
        "metrics": Metrics(service="registry", version="0"),
        "shutting_down": asyncio.Event(),
        "keys": _Keys(),
        "sessions": _Sessions(),
    }
    return RegistryParts(**values)


class _Keys:
    verify = None
    verify_scraper = None


class _Sessions:
    find = None


if __name__ == "__main__":
    REGISTRY_API.write_text(json.dumps(registry_api(), indent=1) + "\n", encoding="utf-8")
