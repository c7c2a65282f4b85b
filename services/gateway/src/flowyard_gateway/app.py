"""The gateway's HTTP application."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI

from flowyard.service.connections import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard.web.wrong_keys import WrongKeys
from flowyard_gateway import key_routes, report_routes, run_routes, status, view_routes
from flowyard_gateway.openapi import document_all
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.proxy import proxy_routes, registry_api
from flowyard_gateway.quick_submit import QuickSubmit

ABOUT: Final = "The public HTTP API of Flowyard: run workflows, follow runs, manage workflows, agents and API keys."
_TEXT: Final = f"""\
{ABOUT}

Send an API key with every request: `Authorization: Bearer fy_…`. Errors are `application/problem+json` (RFC 9457) with
a stable `code`. Times are UTC, durations are seconds, and amounts of money are decimal numbers as text. null means
unknown, or not yet. Responses may gain keys: ignore those that you don't know."""

_ROUTES: Final = run_routes, view_routes, report_routes, key_routes, status
_WITHOUT_NATS: Final = "events arrive once a second, and tokens don't arrive"


def gateway_app(parts: GatewayParts) -> FastAPI:
    registry = registry_api()
    app = make_app(
        About("Flowyard", version("flowyard"), _TEXT),
        routers=[*(module.router for module in _ROUTES), proxy_routes(registry)],
        checks=postgres_and_nats(parts.database, parts.bus, disk=parts.settings.disk, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        verify=parts.callers.verify,
        wrong_keys=WrongKeys(parts.settings.trusted_proxies),
        verify_scraper=parts.callers.verify_scraper,
        body_limit=parts.settings.body_limit,
        shortcut=partial(QuickSubmit, parts=parts),
    )
    app.state.parts = parts
    document_all(app, registry)
    return app
