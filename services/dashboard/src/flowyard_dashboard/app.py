"""The dashboard's HTTP application: pages for people, health checks for machines."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware

from flowyard.service.connections import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard.web.pages.assets import asset_routes
from flowyard.web.pages.error_pages import register_error_pages
from flowyard.web.pages.headers import HEADERS
from flowyard.web.pages.login import login_routes
from flowyard.web.pages.session_guard import SessionGuard
from flowyard_dashboard import own_routes, receiver_routes, run_routes, runs_routes, workflow_routes
from flowyard_dashboard.pages import SITE
from flowyard_dashboard.parts import DashboardParts

ABOUT: Final = "The pages of Flowyard: workflows and their runs, live in a browser."

_WITHOUT_NATS: Final = "pages show events up to a second later, and no tokens"


def dashboard_app(parts: DashboardParts) -> FastAPI:
    pages = (own_routes, workflow_routes, runs_routes, run_routes, receiver_routes)
    shared = (login_routes(SITE, parts.entrance), asset_routes(SITE, parts.assets))
    app = make_app(
        About("Flowyard dashboard", version("flowyard"), ABOUT),
        routers=[*shared, *(page.router for page in pages)],
        checks=postgres_and_nats(parts.database, parts.bus, disk=parts.settings.disk, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        workflow_of=parts.control.runs.workflow_of,
        shutting_down=parts.shutting_down,
        body_limit=parts.settings.form_limit,
        headers=HEADERS,
    )
    app.state.parts = parts
    register_error_pages(app, parts.entrance)
    # The innermost middleware, so that its responses are counted and get the headers of all responses.
    app.user_middleware.append(Middleware(SessionGuard, entrance=parts.entrance))
    return app
