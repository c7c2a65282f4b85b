"""The routes of the language: its JSON Schema, and checks of documents."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, Request

from flowyard.api.workflows import Validated
from flowyard.errors.requests import InvalidRequest, TooBusy
from flowyard.language.reading.document import document_schema
from flowyard.web.auth import READ
from flowyard.web.problems import guarded
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_registry.apply import validate
from flowyard_registry.parts import InjectedParts
from flowyard_registry.routing import DOCUMENT, File

_schema = cache(document_schema)
router = APIRouter(prefix="/v1", tags=["language"], route_class=StrictJsonRoute)


@router.get("/schema", summary="Get the JSON Schema of documents", **guarded(READ))
async def get_schema() -> dict[str, Any]:
    return _schema()


@router.post(
    "/validate",
    summary="Check a document without applying it",
    openapi_extra=DOCUMENT,
    **guarded(READ, InvalidRequest, TooBusy),
)
async def validate_document(parts: InjectedParts, request: Request, file: File = "document") -> Validated:
    return await validate(parts, await request.body(), file=file)
