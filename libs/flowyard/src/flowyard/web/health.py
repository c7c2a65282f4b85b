"""`/health/live`, `/health/ready` and `/metrics`: for supervisors and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from flowyard.errors.base import FlowyardError
from flowyard.telemetry.metrics import Metrics
from flowyard.web.recent import Recent

_KEPT_S: Final = 0.5
"""Health needs no key, so results are kept for a moment: the load on Postgres and NATS stays bounded."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something without which the service isn't ready. `run` returns a remark, and raises if something is wrong."""

    name: str
    run: Callable[[], Awaitable[str]]
    limit_s: float = 2.0


class CheckResult(BaseModel):
    name: str
    ok: bool
    detail: Annotated[str, Field(description="A remark, or what is wrong")]


class Readiness(BaseModel):
    version: Annotated[str, Field(description="Of the service")]
    ready: Annotated[bool, Field(description="All checks are well and the service isn't about to end")]
    draining: Annotated[bool, Field(description="The service ends what it has begun and takes nothing new")]
    checks: list[CheckResult]


class Liveness(BaseModel):
    live: bool = True


def health_routes(checks: Sequence[Check], draining: asyncio.Event, metrics: Metrics, *, version: str) -> APIRouter:
    """Routes that need no key. `draining`: set when the service takes nothing new."""
    router = APIRouter(tags=["health"])
    recent = Recent(partial(_run_all, checks), keep_s=lambda _took: _KEPT_S)

    @router.get("/health/live", summary="Is the process alive?")
    async def live() -> Liveness:
        return Liveness()

    @router.get(
        "/health/ready",
        summary="Can the service do its work?",
        responses={503: {"model": Readiness, "description": "It can't; the checks say why"}},
    )
    async def ready(response: Response) -> Readiness:
        results = await recent.get()
        is_ready = not draining.is_set() and all(result.ok for result in results)
        response.status_code = 200 if is_ready else 503
        return Readiness(version=version, ready=is_ready, draining=draining.is_set(), checks=results)

    @router.get("/metrics", include_in_schema=False)
    async def metrics_page() -> Response:
        page, content_type = metrics.render()
        return Response(page, media_type=content_type)

    return router


async def _run_all(checks: Sequence[Check]) -> list[CheckResult]:
    return await asyncio.gather(*map(_result, checks))


async def _result(check: Check) -> CheckResult:
    try:
        async with asyncio.timeout(check.limit_s):
            return CheckResult(name=check.name, ok=True, detail=await check.run())
    except TimeoutError:
        return CheckResult(name=check.name, ok=False, detail=f"no answer within {check.limit_s:g} s")
    except FlowyardError as error:
        return CheckResult(name=check.name, ok=False, detail=error.message)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer; its text might hold an address's password
        return CheckResult(name=check.name, ok=False, detail=type(error).__name__)
