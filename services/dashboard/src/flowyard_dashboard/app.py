"""The dashboard's HTTP application: pages for people, health checks for machines."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware

from flowyard.service.connections import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard_dashboard import login, own_routes, run_routes, runs_routes, workflow_routes
from flowyard_dashboard.error_pages import register_error_pages
from flowyard_dashboard.pages import HEADERS
from flowyard_dashboard.parts import DashboardParts
from flowyard_dashboard.session_guard import SessionGuard

ABOUT: Final = "The pages of Flowyard: workflows and their runs, live in a browser."

_WITHOUT_NATS: Final = "pages show events up to a second later, and no tokens"


def dashboard_app(parts: DashboardParts) -> FastAPI:
    pages = (own_routes, login, workflow_routes, runs_routes, run_routes)
    app = make_app(
        About("Flowyard dashboard", version("flowyard"), ABOUT),
        routers=[page.router for page in pages],
        checks=postgres_and_nats(parts.database, parts.bus, disk=parts.settings.disk, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        body_limit=parts.settings.form_limit,
        headers=HEADERS,
    )
    app.state.parts = parts
    register_error_pages(app, parts.pages)
    # The innermost middleware, so that its responses are counted and get the headers of all responses.
    app.user_middleware.append(Middleware(SessionGuard, parts=parts))
    return app
