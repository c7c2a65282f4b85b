"""The registry's HTTP."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from flowyard.storage.schema import VERSION, check_schema
from flowyard.web.app import About, make_app
from flowyard.web.health import Check
from flowyard_registry.agent_routes import agent_routes
from flowyard_registry.parts import Parts
from flowyard_registry.workflow_routes import language_routes, workflow_routes

ABOUT = "The catalogue of Flowyard: workflows with their revisions, and the agents that can do work."


def registry_app(parts: Parts) -> FastAPI:
    return make_app(
        About("Flowyard registry", version("flowyard"), ABOUT),
        routers=[workflow_routes(parts), language_routes(), agent_routes(parts)],
        checks=_checks(parts),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        verify=parts.keys.verify,
    )


def _checks(parts: Parts) -> list[Check]:
    async def postgres() -> str:
        await check_schema(parts.database)
        return f"reachable, schema {VERSION}"

    async def nats() -> str:
        if parts.bus.connected:
            return "connected"
        return "degraded: not connected, so agents can't register over NATS and caches elsewhere learn of changes later"

    return [Check("postgres", postgres), Check("nats", nats)]
