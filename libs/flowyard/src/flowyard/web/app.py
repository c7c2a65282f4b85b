"""`make_app`: a FastAPI application with everything that all services have."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from flowyard.telemetry.metrics import Metrics
from flowyard.web.auth import Verify
from flowyard.web.guard import Guard
from flowyard.web.health import Check, health_routes
from flowyard.web.limits import BodyLimit
from flowyard.web.openapi import DocumentedApp
from flowyard.web.problems import add_problem_handlers
from flowyard.web.requests import API_HEADERS, RequestLog

BODY_LIMIT: Final = 1024 * 1024
"""The most bytes that a request's body may have."""


@dataclass(frozen=True, slots=True)
class About:
    """The service's description in its OpenAPI document. `text`: Markdown."""

    title: str
    version: str
    text: str


def make_app(
    about: About,
    *,
    routers: Sequence[APIRouter],
    checks: Sequence[Check],
    metrics: Metrics,
    shutting_down: asyncio.Event,
    verify: Verify | None = None,
    body_limit: int = BODY_LIMIT,
    headers: Mapping[str, str] = API_HEADERS,
) -> FastAPI:
    """An application with health, metrics, problems, limits and request ids; its OpenAPI is at `/openapi.json`.

    `verify`: with it, every path but health needs a key, and routes may `require` a scope. `headers`: added to each
    response that doesn't have them. `shutting_down`: while set, the service isn't ready.
    """
    app = DocumentedApp(
        title=about.title,
        version=about.version,
        description=about.text,
        # FastAPI's pages load their scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.verify = verify
    add_problem_handlers(app)
    for router in (health_routes(checks, shutting_down, metrics, version=about.version), *routers):
        app.include_router(router)
    # The middleware that is added last is the outermost.
    app.add_middleware(BodyLimit, limit=body_limit)
    if verify is not None:
        app.add_middleware(Guard, verify=verify)
    app.add_middleware(RequestLog, metrics=metrics.http, headers=headers, shutting_down=shutting_down)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
