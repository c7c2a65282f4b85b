"""The gateway's HTTP application."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from flowyard.service.connections import postgres_and_nats
from flowyard.web.app import About, make_app
from flowyard.web.pages.assets import asset_routes
from flowyard.web.pages.error_pages import register_error_pages
from flowyard.web.pages.login import login_routes
from flowyard.web.pages.session_guard import SessionGuard
from flowyard.web.wrong_keys import WrongKeys
from flowyard_gateway import audit_routes, key_routes, report_routes, run_routes, status, view_routes
from flowyard_gateway.chat import response_routes, session_routes
from flowyard_gateway.chat import routes as chat_routes
from flowyard_gateway.chat_page import changes, draft_routes, export
from flowyard_gateway.chat_page import routes as page_routes
from flowyard_gateway.chat_page.site import SITE
from flowyard_gateway.hooks import delivery_routes
from flowyard_gateway.hooks import routes as hook_routes
from flowyard_gateway.mcp import routes as mcp_routes
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

_ROUTES: Final = (
    hook_routes, delivery_routes, run_routes, chat_routes, response_routes, session_routes, mcp_routes,
    view_routes,
    report_routes, key_routes, audit_routes, status,
)  # fmt: skip
_WITHOUT_NATS: Final = "events arrive once a second, and tokens don't arrive"


def gateway_app(parts: GatewayParts) -> FastAPI:
    registry = registry_api()
    app = make_app(
        About("Flowyard", version("flowyard"), _TEXT),
        routers=[*(module.router for module in _ROUTES), *_pages(parts), proxy_routes(registry)],
        checks=postgres_and_nats(parts.database, parts.bus, disk=parts.settings.disk, without_nats=_WITHOUT_NATS),
        metrics=parts.metrics,
        shutting_down=parts.shutting_down,
        verify=parts.callers.verify,
        wrong_keys=WrongKeys(parts.settings.trusted_proxies),
        verify_scraper=parts.callers.verify_scraper,
        is_open=_is_open,
        take_request=parts.pace.take,
        workflow_of=parts.control.runs.workflow_of,
        trusted=parts.settings.trusted_proxies,
        origins=parts.settings.cors_origins,
        body_limit=parts.settings.body_limit,
        shortcut=partial(QuickSubmit, parts=parts),
        error_form=chat_routes.ERRORS,
    )
    app.state.parts = parts
    register_error_pages(app, parts.entrance)
    # The innermost middleware, so that its responses are counted, and limited in size.
    app.user_middleware.append(Middleware(SessionGuard, entrance=parts.entrance))
    document_all(app, registry)
    return app


def _pages(parts: GatewayParts) -> Sequence[APIRouter]:
    of_all = login_routes(SITE, parts.entrance), asset_routes(SITE, parts.assets)
    return *of_all, page_routes.router, export.router, draft_routes.router, changes.router


def _is_open(path: str) -> bool:
    """Whether a path needs no API key: webhooks, whose senders sign, and pages, which need a session."""
    return path.startswith(hook_routes.HOOKS) or SITE.covers(path)
