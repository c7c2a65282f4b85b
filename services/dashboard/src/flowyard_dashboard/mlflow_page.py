"""A page that shows MLflow in a frame."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response

from flowyard_dashboard.pages import CONTENT_SECURITY_POLICY
from flowyard_dashboard.routing import InjectedParts

router = APIRouter(include_in_schema=False)


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
