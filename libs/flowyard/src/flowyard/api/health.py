"""The response of every service to `GET /health/ready`, which needs no key."""

from __future__ import annotations

from pydantic import BaseModel


class CheckView(BaseModel):
    """Something that the service needs to be ready. `detail`: a remark, or what is wrong."""

    name: str
    ok: bool
    detail: str


class HealthView(BaseModel):
    """`ready`: all checks pass, and the service isn't shutting down. `version`: None from an older version."""

    version: str | None = None
    ready: bool
    draining: bool
    checks: list[CheckView]
