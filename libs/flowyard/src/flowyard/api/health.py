"""What every service says of itself at `/health/ready`, without being shown a key."""

from __future__ import annotations

from pydantic import BaseModel


class CheckView(BaseModel):
    """Something without which the service isn't ready. `detail`: a remark, or what is wrong."""

    name: str
    ok: bool
    detail: str


class HealthView(BaseModel):
    """`ready`: all checks are well, and the service isn't about to end. `version`: None: the service is too old."""

    version: str | None = None
    ready: bool
    draining: bool
    checks: list[CheckView]
