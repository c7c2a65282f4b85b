"""The start page, and the page that shows MLflow in a frame."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from flowyard.web.pages.headers import CONTENT_SECURITY_POLICY
from flowyard.web.pages.session_guard import keep_own
from flowyard_dashboard.parts import InjectedParts

router = APIRouter(include_in_schema=False)


@router.get("/", dependencies=keep_own("nothing"))
async def home() -> Response:
    return RedirectResponse("/workflows", 303)


@router.get("/mlflow", dependencies=keep_own())
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
