"""Errors as pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from flowyard.errors.base import FlowyardError
from flowyard_dashboard.pages import Pages

_NOWHERE: Final = "There is no such page. It may have been deleted, or the address is misspelled."


def add_failure_pages(app: FastAPI, pages: Pages) -> None:
    """In place of the problems in JSON that programs get."""

    async def of_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, FlowyardError)  # noqa: S101 - registered for it
        return page_of(pages, request, error)

    async def of_validation(request: Request, _error: Exception) -> Response:
        # Only addresses are validated this way: one that can't be is nowhere.
        return _page(pages, request, 404, "Not found", _NOWHERE)

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        status = HTTPStatus(error.status_code)
        detail = _NOWHERE if status is HTTPStatus.NOT_FOUND else str(error.detail)
        answer = _page(pages, request, status, status.phrase, detail)
        answer.headers.update(error.headers or {})
        return answer

    app.add_exception_handler(FlowyardError, of_ours)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)


def page_of(pages: Pages, request: Request, error: FlowyardError) -> Response:
    answer = _page(pages, request, error.status, error.title, error.message)
    if error.retry_after is not None:
        answer.headers["retry-after"] = str(max(1, round(error.retry_after)))
    return answer


def _page(pages: Pages, request: Request, status: int, title: str, detail: str) -> Response:
    return pages.page(request, "error", status=status, error_status=int(status), title=title, detail=detail)
