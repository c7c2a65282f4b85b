"""Shows errors as HTML pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flowyard.errors.base import FlowyardError
from flowyard_dashboard.pages import Pages

_NOT_FOUND: Final = "There is no such page. It may have been deleted, or the address is misspelled."


def register_error_pages(app: FastAPI, pages: Pages) -> None:
    """Registers handlers that answer errors with pages, instead of JSON."""

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

    app.add_exception_handler(FlowyardError, flowyard_error)
    app.add_exception_handler(RequestValidationError, invalid_address)
    app.add_exception_handler(HTTPException, http_error)


def error_page(pages: Pages, request: Request, error: FlowyardError) -> Response:
    """The page for an error, with the error's status."""
    response = _page(pages, request, error.status, error.title, error.message)
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after)))
    return response


def _page(pages: Pages, request: Request, status: int, title: str, detail: str) -> Response:
    return pages.page(request, "error", status=status, error_status=int(status), title=title, detail=detail)
