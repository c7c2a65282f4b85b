"""The page with the receivers of notifications."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from flowyard.api.notifications import ReceiverId, shown
from flowyard.storage.notifications import Notifications
from flowyard.web.pages.session_guard import keep_own
from flowyard_dashboard.parts import InjectedParts

_MOST: Final = 100

router = APIRouter(include_in_schema=False, dependencies=keep_own())


@router.get("/receivers")
async def list_receivers(
    parts: InjectedParts, request: Request, after: Annotated[ReceiverId | None, Query()] = None
) -> Response:
    receivers = await Notifications(parts.database).receivers(after=after, limit=_MOST + 1)
    more = receivers[_MOST - 1].id if len(receivers) > _MOST else None
    rows = [(receiver, shown(receiver.url)) for receiver in receivers[:_MOST]]
    return parts.pages.page(request, "receivers", rows=rows, more=more, is_first=after is None)
