"""Shows errors as HTML pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flowyard.errors.base import FlowyardError
from flowyard.web.pages.entrance import Entrance
from flowyard.web.pages.templating import Pages

_NOT_FOUND: Final = "There is no such page. It may have been deleted, or the address is misspelled."


def register_error_pages(app: FastAPI, entrance: Entrance) -> None:
    """Registers handlers that answer errors of pages with pages. Other errors are answered as before."""
    pages = entrance.pages

    async def flowyard_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FlowyardError)  # noqa: S101 - registered for it
        return error_page(pages, request, error)

    async def invalid_address(request: Request, _error: Exception) -> Response:
        # FastAPI validates only the addresses of pages: no page has an invalid address.
        return _page(pages, request, 404, "Not found", _NOT_FOUND)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        status = HTTPStatus(error.status_code)
        detail = _NOT_FOUND if status is HTTPStatus.NOT_FOUND else str(error.detail)
        response = _page(pages, request, status, status.phrase, detail)
        response.headers.update(error.headers or {})
        return response

    _register(app, entrance, FlowyardError, flowyard_error)
    _register(app, entrance, RequestValidationError, invalid_address)
    _register(app, entrance, HTTPException, http_error)


def _register(app: FastAPI, entrance: Entrance, kind: type[Exception], answer: Any) -> None:
    others: Any = app.exception_handlers[kind]

    async def handle(request: Request, error: Exception) -> Response:
        response: Response = await (answer if entrance.site.covers(request.scope["path"]) else others)(request, error)
        return response

    app.add_exception_handler(kind, handle)


def error_page(pages: Pages, request: Request, error: FlowyardError) -> Response:
    """The page for an error, with the error's status."""
    response = _page(pages, request, error.status, error.title, error.message)
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after)))
    return response


def _page(pages: Pages, request: Request, status: int, title: str, detail: str) -> Response:
    return pages.page(request, "error", status=status, error_status=int(status), title=title, detail=detail)
