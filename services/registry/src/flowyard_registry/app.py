"""The registry's HTTP application."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from flowyard.service.connections import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard.web.wrong_keys import read_networks
from flowyard_registry import (
    agent_routes,
    event_routes,
    language_routes,
    notification_routes,
    trigger_routes,
    workflow_routes,
)
from flowyard_registry.parts import RegistryParts

ABOUT: Final = "Stores the workflows of Flowyard with their revisions, and knows the agents that can do work."
_GATEWAYS: Final = read_networks("127.0.0.0/8 ::1 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7")
"""Where gateways are: they say where a request came from. Only private addresses reach the registry."""
_ROUTES: Final = workflow_routes, trigger_routes, language_routes, agent_routes, notification_routes, event_routes
_WITHOUT_NATS: Final = "other services don't learn of changes at once"


def registry_app(parts: RegistryParts) -> FastAPI:
    app = make_app(
        About("Flowyard registry", version("flowyard"), ABOUT),
        routers=[module.router for module in _ROUTES],
        checks=postgres_and_nats(parts.database, parts.bus, disk=parts.settings.disk, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        verify=parts.keys.verify,
        trusted=_GATEWAYS,
        verify_scraper=parts.keys.verify_scraper,
        verify_session=parts.sessions.find,
    )
    app.state.parts = parts
    return app
