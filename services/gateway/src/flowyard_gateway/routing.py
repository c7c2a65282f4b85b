"""What the gateway's routes share."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from uuid import UUID

from fastapi import Depends, Path, Request

from flowyard_gateway.parts import GatewayParts


async def _parts(request: Request) -> GatewayParts:
    parts: GatewayParts = request.app.state.parts
    return parts


InjectedParts: TypeAlias = Annotated[GatewayParts, Depends(_parts)]
RunId: TypeAlias = Annotated[UUID, Path(description="The run's id")]
