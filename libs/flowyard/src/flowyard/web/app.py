"""`make_app`: a FastAPI application with everything that all services have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from flowyard.telemetry.metrics import Metrics
from flowyard.web.auth import Guard, TakeRequest, Verify, WorkflowOf
from flowyard.web.cors import CORS
from flowyard.web.error_forms import ErrorForm, OtherErrors
from flowyard.web.health import Check, health_routes
from flowyard.web.limits import BodyLimit
from flowyard.web.openapi import DocumentedApp
from flowyard.web.problems import add_problem_handlers
from flowyard.web.requests import API_HEADERS, RequestLog
from flowyard.web.wrong_keys import Networks, WrongKeys

BODY_LIMIT: Final = 1024 * 1024
"""The most bytes that a request's body may have."""


@dataclass(frozen=True, slots=True)
class About:
    """The service's description in its OpenAPI document. `text`: Markdown."""

    title: str
    version: str
    text: str


def make_app(  # noqa: PLR0913  # by keyword
    about: About,
    *,
    routers: Sequence[APIRouter],
    checks: Sequence[Check],
    metrics: Metrics,
    shutting_down: asyncio.Event,
    verify: Verify | None = None,
    wrong_keys: WrongKeys | None = None,
    verify_scraper: Verify | None = None,
    verify_session: Verify | None = None,
    is_open: Callable[[str], bool] = lambda _: False,
    take_request: TakeRequest | None = None,
    workflow_of: WorkflowOf | None = None,
    trusted: Networks = (),
    origins: Sequence[str] = (),
    body_limit: int = BODY_LIMIT,
    shortcut: Callable[[ASGIApp], ASGIApp] | None = None,
    error_form: ErrorForm | None = None,
    headers: Mapping[str, str] = API_HEADERS,
) -> FastAPI:
    """An application with health, metrics, problems, limits and request ids; its OpenAPI is at `/openapi.json`.

    `verify`: with it, every path but health needs a key, and routes may `require` a scope. `verify_scraper`: instead,
    for metrics. `verify_session`: also accepts sessions of pages, which other services forward. `is_open`: whether a
    path needs no key. `wrong_keys`: slows down who tries wrong ones.
    `take_request`: called for each request of a key with a rate. `workflow_of`: needed if any path has a `{run_id}`.
    `trusted`: whose X-Forwarded-For says where a request came from. `origins`: of web pages that may use it. `headers`:
    added to each response that doesn't have them. `shortcut`: makes an ASGI middleware that comes after all others.
    `error_form`: for clients of some paths, who expect another form of errors. `shutting_down`: while set, the service
    isn't ready.
    """
    app = _documented(about)
    app.state.workflow_of = workflow_of
    add_problem_handlers(app)
    for router in (health_routes(checks, shutting_down, metrics, version=about.version), *routers):
        _add_routes(app, router)
    # The middleware that is added last is the outermost.
    if shortcut is not None:
        app.add_middleware(shortcut)
    app.add_middleware(BodyLimit, limit=body_limit)
    if verify is not None:
        app.add_middleware(
            Guard,
            verify=verify,
            verify_scraper=verify_scraper or verify,
            verify_session=verify_session,
            wrong_keys=wrong_keys or WrongKeys(),
            is_open=is_open,
            take_request=take_request,
            trusted=trusted,
        )
    if origins:
        # Before the keys: browsers send none with a preflight.
        app.add_middleware(CORSMiddleware, allow_origins=origins, **CORS)
    app.add_middleware(RequestLog, metrics=metrics.http, headers=headers, shutting_down=shutting_down)
    if error_form is not None:
        app.add_middleware(OtherErrors, form=error_form)
    return app


def _add_routes(app: FastAPI, router: APIRouter) -> None:
    """As they are. `include_router` would analyse their parameters once more, during the first requests: 80 ms of the
    gateway. It would also add what an application has for all of its routes, which ours don't.
    """
    app.router.routes.extend(router.routes)


def _documented(about: About) -> FastAPI:
    return DocumentedApp(
        title=about.title,
        version=about.version,
        description=about.text,
        # FastAPI's pages load their scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
