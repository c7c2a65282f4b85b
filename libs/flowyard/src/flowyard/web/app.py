"""`make_app`: a FastAPI application with everything that all services have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from flowyard.errors.requests import InvalidRequest, TooLarge
from flowyard.telemetry.metrics import Metrics
from flowyard.web.auth import Guard, Verify
from flowyard.web.health import Check, health_routes
from flowyard.web.limits import BodyLimit
from flowyard.web.problems import SCHEMA, SCHEMA_NAME, add_problem_handlers, problem_responses
from flowyard.web.requests import API_HEADERS, RequestLog
from flowyard.web.wrong_keys import WrongKeys

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
    body_limit: int = BODY_LIMIT,
    shortcut: Callable[[ASGIApp], ASGIApp] | None = None,
    headers: Mapping[str, str] = API_HEADERS,
) -> FastAPI:
    """An application with health, metrics, problems, limits and request ids; its OpenAPI is at `/openapi.json`.

    `verify`: with it, every path but health needs a key, and routes may `require` a scope. `verify_scraper`: instead,
    for metrics. `wrong_keys`: slows down who tries wrong ones. `headers`: added to each response that doesn't have
    them. `shortcut`: makes an ASGI middleware that comes after all others. `shutting_down`: while set, the service
    isn't ready.
    """
    app = _DocumentedApp(
        title=about.title,
        version=about.version,
        description=about.text,
        # FastAPI's pages load their scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    add_problem_handlers(app)
    for router in (health_routes(checks, shutting_down, metrics, version=about.version), *routers):
        app.include_router(router)
    # The middleware that is added last is the outermost.
    if shortcut is not None:
        app.add_middleware(shortcut)
    app.add_middleware(BodyLimit, limit=body_limit)
    if verify is not None:
        app.add_middleware(
            Guard, verify=verify, verify_scraper=verify_scraper or verify, wrong_keys=wrong_keys or WrongKeys()
        )
    app.add_middleware(RequestLog, metrics=metrics.http, headers=headers, shutting_down=shutting_down)
    return app


class _DocumentedApp(FastAPI):
    """FastAPI with our problems in its OpenAPI document instead of its own shape of errors.

    Each operation gets those of an invalid request.
    """

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    _add_request_problems(operation)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas[SCHEMA_NAME] = SCHEMA
            self.openapi_schema = document
        return self.openapi_schema


def _add_request_problems(operation: dict[str, Any]) -> None:
    has_body = "requestBody" in operation
    if not has_body and not operation.get("parameters"):
        return
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
    for error in (InvalidRequest, TooLarge) if has_body else (InvalidRequest,):
        _merge(responses, problem_responses(error))


def _merge(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    for status, response in more.items():
        merged = responses.setdefault(str(status), response)
        if merged is response:
            continue
        for media_type, content in response["content"].items():
            documented = merged.setdefault("content", {}).setdefault(media_type, content)
            documented.setdefault("examples", {}).update(content["examples"])
            merged["description"] = ", ".join(f"`{code}`" for code in documented["examples"])
