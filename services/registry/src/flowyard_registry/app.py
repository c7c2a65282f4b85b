"""The registry's HTTP."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from flowyard.service.checks import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard_registry import agent_routes, language_routes, workflow_routes
from flowyard_registry.parts import RegistryParts

ABOUT: Final = "The catalogue of Flowyard: workflows with their revisions, and the agents that can do work."
_WITHOUT_NATS: Final = "agents can't register over NATS and caches elsewhere learn of changes later"


def registry_app(parts: RegistryParts) -> FastAPI:
    app = make_app(
        About("Flowyard registry", version("flowyard"), ABOUT),
        routers=[workflow_routes.router, language_routes.router, agent_routes.router],
        checks=postgres_and_nats(parts.database, parts.bus, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        verify=parts.keys.verify,
    )
    app.state.parts = parts
    return app
