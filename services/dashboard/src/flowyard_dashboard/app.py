"""The dashboard's HTTP: health for machines, pages for people."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse, Response

from flowyard.service.checks import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard_dashboard import assets
from flowyard_dashboard.failures import add_failure_pages
from flowyard_dashboard.forms import body_limit
from flowyard_dashboard.guard import Guard
from flowyard_dashboard.login import login_routes
from flowyard_dashboard.mlflow_page import mlflow_routes
from flowyard_dashboard.pages import HEADERS
from flowyard_dashboard.parts import Parts
from flowyard_dashboard.run_routes import run_routes
from flowyard_dashboard.runs_routes import runs_routes
from flowyard_dashboard.workflow_routes import workflow_routes

ABOUT: Final = "The pages of Flowyard: workflows and their runs, live in a browser."

_WITHOUT_NATS: Final = "pages learn of events once a second, and tokens don't come"


def dashboard_app(parts: Parts) -> FastAPI:
    routers = [
        _own_routes(parts),
        login_routes(parts),
        workflow_routes(parts),
        runs_routes(parts),
        run_routes(parts),
        mlflow_routes(parts),
    ]
    app = make_app(
        About("Flowyard dashboard", version("flowyard"), ABOUT),
        routers=routers,
        checks=postgres_and_nats(parts.database, parts.bus, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        body_limit=body_limit(parts),
        headers=HEADERS,
    )
    add_failure_pages(app, parts.pages)
    # The innermost: what it answers is counted and gets its headers, as every answer does.
    app.user_middleware.append(Middleware(Guard, parts=parts))
    return app


def _own_routes(parts: Parts) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def home() -> Response:
        return RedirectResponse("/workflows", 303)

    @router.get(assets.PREFIX + "{digest}/{name}")
    async def asset(request: Request) -> Response:
        found = parts.assets.by_url.get(request.url.path)
        if found is None:
            return Response(status_code=404)
        headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.zipped, headers={**headers, "content-encoding": "gzip"}, media_type=found.media_type)
        return Response(found.body, headers=headers, media_type=found.media_type)

    return router
