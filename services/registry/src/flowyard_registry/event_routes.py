"""The route of the AsyncAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from flowyard.web.auth import READ
from flowyard.web.openapi import NamedRoute
from flowyard.web.problems import guarded
from flowyard_registry.asyncapi import asyncapi_document
from flowyard_registry.parts import InjectedParts

router = APIRouter(tags=["events"], route_class=NamedRoute)


@router.get(
    "/asyncapi.json",
    summary="Get the AsyncAPI document",
    description="It describes the public events that this installation publishes to NATS.",
    **guarded(READ),
)
async def get_asyncapi(parts: InjectedParts) -> dict[str, Any]:
    return asyncapi_document(parts.settings.published_events)
