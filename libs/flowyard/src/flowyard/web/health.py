"""The routes for supervisors and Prometheus: `/health/live`, `/health/ready` and `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import TooLarge
from flowyard.telemetry.metrics import Metrics
from flowyard.web.auth import METRICS_PATH, OPEN
from flowyard.web.openapi import NamedRoute
from flowyard.web.problems import problem_responses
from flowyard.web.recent import Recent

_KEEP_S: Final = 0.5
"""Health needs no key, so its results are kept for a moment to bound the load on Postgres and NATS."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that the service needs to be ready. `run` returns a remark, and raises if the check fails."""

    name: str
    run: Callable[[], Awaitable[str]]
    limit_s: float = 2.0


class CheckResult(BaseModel):
    name: str
    ok: bool
    detail: Annotated[str, Field(description="A remark, or what is wrong")]


class Readiness(BaseModel):
    version: Annotated[str, Field(description="The version of the service")]
    ready: Annotated[bool, Field(description="All checks pass and the service isn't shutting down")]
    draining: Annotated[bool, Field(description="The service finishes open work and accepts no more")]
    checks: list[CheckResult]


class Liveness(BaseModel):
    live: bool = True


def health_routes(checks: Sequence[Check], draining: asyncio.Event, metrics: Metrics, *, version: str) -> APIRouter:
    """The routes. `draining`: set when the service accepts no more work."""
    router = APIRouter(tags=["health"], route_class=NamedRoute)

    async def run_checks() -> list[CheckResult]:
        return await asyncio.gather(*map(_result, checks))

    recent = Recent(run_checks, keep_s=lambda _: _KEEP_S)

    @router.get(
        "/health/live",
        summary="Is the process alive?",
        description="Any answer means that it is. It says nothing about Postgres and NATS.",
        responses=problem_responses(TooLarge),
        openapi_extra=OPEN,
    )
    async def live() -> Liveness:
        return Liveness()

    @router.get(
        "/health/ready",
        summary="Can the service do its work?",
        description="Each check is repeated at most twice a second, however often it is asked for.",
        responses={
            503: {"model": Readiness, "description": "It can't; `checks` says why"},
            **problem_responses(TooLarge),
        },
        openapi_extra=OPEN,
    )
    async def ready(response: Response) -> Readiness:
        results = await recent.get()
        is_ready = not draining.is_set() and all(result.ok for result in results)
        response.status_code = 200 if is_ready else 503
        return Readiness(version=version, ready=is_ready, draining=draining.is_set(), checks=results)

    @router.get(METRICS_PATH, include_in_schema=False)
    async def metrics_page() -> Response:
        page, content_type = metrics.render()
        return Response(page, media_type=content_type)

    return router


async def _result(check: Check) -> CheckResult:
    try:
        async with asyncio.timeout(check.limit_s):
            return CheckResult(name=check.name, ok=True, detail=await check.run())
    except TimeoutError:
        return CheckResult(name=check.name, ok=False, detail=f"no answer within {check.limit_s:g} s")
    except FlowyardError as error:
        return CheckResult(name=check.name, ok=False, detail=error.message)
    except Exception as error:  # noqa: BLE001 - any error is a result; its text might contain a password
        return CheckResult(name=check.name, ok=False, detail=type(error).__name__)
