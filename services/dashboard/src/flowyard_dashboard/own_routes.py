"""The start page, the page that shows MLflow in a frame, and the files that pages need."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from flowyard_dashboard import assets
from flowyard_dashboard.pages import CONTENT_SECURITY_POLICY
from flowyard_dashboard.parts import InjectedParts

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


@router.get("/mlflow")
async def mlflow(parts: InjectedParts, request: Request) -> Response:
    page = parts.pages.page(request, "mlflow")
    page.headers["content-security-policy"] = policy_for(parts.settings.mlflow_public_url)
    return page


def policy_for(url: str) -> str:
    """The content security policy of the page: its frame may only load from this URL."""
    if not url:
        return CONTENT_SECURITY_POLICY
    parts = urlsplit(url)
    return f"{CONTENT_SECURITY_POLICY}; frame-src {parts.scheme}://{parts.netloc}"
