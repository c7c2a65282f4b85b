"""The registry's HTTP application."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from flowyard.service.connections import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard_registry import agent_routes, language_routes, workflow_routes
from flowyard_registry.parts import RegistryParts

ABOUT: Final = "Stores the workflows of Flowyard with their revisions, and knows the agents that can do work."
_WITHOUT_NATS: Final = "other services don't learn of changes at once"


def registry_app(parts: RegistryParts) -> FastAPI:
    app = make_app(
        About("Flowyard registry", version("flowyard"), ABOUT),
        routers=[workflow_routes.router, language_routes.router, agent_routes.router],
        checks=postgres_and_nats(parts.database, parts.bus, disk=parts.settings.disk, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        verify=parts.keys.verify,
        verify_scraper=parts.keys.verify_scraper,
    )
    app.state.parts = parts
    return app
