"""The routes of the language: its JSON Schema, and checks of documents."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter, Request

from flowyard.api.workflows import Validated
from flowyard.errors.requests import InvalidRequest
from flowyard.language.reading.document import document_schema
from flowyard.web.auth import READ
from flowyard.web.problems import guarded_responses
from flowyard_registry.apply import validate
from flowyard_registry.routing import DOCUMENT, File

router = APIRouter(prefix="/v1", tags=["language"])


@router.get("/schema", summary="Get the JSON Schema of documents", dependencies=READ, responses=guarded_responses())
async def get_schema() -> dict[str, Any]:
    return _schema()


@router.post(
    "/validate",
    summary="Check a document without applying it",
    dependencies=READ,
    openapi_extra=DOCUMENT,
    responses=guarded_responses(InvalidRequest),
)
async def validate_document(request: Request, file: File = "document") -> Validated:
    return await validate(await request.body(), file=file)


@cache
def _schema() -> dict[str, Any]:
    return document_schema()
