"""The start page, and the files that pages need."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from flowyard_dashboard import assets
from flowyard_dashboard.routing import InjectedParts

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> Response:
    return RedirectResponse("/workflows", 303)


@router.get(assets.PREFIX + "{digest}/{name}")
async def asset(parts: InjectedParts, request: Request) -> Response:
    file = parts.assets.by_url.get(request.url.path)
    if file is None:
        return Response(status_code=404)
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, headers={**headers, "content-encoding": "gzip"}, media_type=file.media_type)
    return Response(file.body, headers=headers, media_type=file.media_type)
