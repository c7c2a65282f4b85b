"""The routes of the language: its JSON Schema, and checks of documents."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Request, Response

from flowyard.access import Caller
from flowyard.api.drafts import DraftRequest, DraftView
from flowyard.api.workflows import Validated
from flowyard.errors.requests import InvalidRequest, TooBusy
from flowyard.language.reading.installed_schema import installation_schema
from flowyard.web.auth import READ_ANY, require
from flowyard.web.problems import guarded, guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_registry.apply import installation_with_tools, validate
from flowyard_registry.look_at_draft import look_at_draft
from flowyard_registry.parts import InjectedParts
from flowyard_registry.routing import DOCUMENT, File

Reader: TypeAlias = Annotated[Caller, Depends(require("read", reach="nothing"))]

router = APIRouter(prefix="/v1", tags=["language"], route_class=StrictJsonRoute)


@router.get(
    "/schema",
    summary="Get the JSON Schema of documents",
    description="For editors: with the names of the tools and models that the installation knows. A document that fits "
    "it may still have mistakes: `/v1/validate` finds them.",
    **guarded(READ_ANY),
)
async def get_schema(parts: InjectedParts) -> dict[str, Any]:
    return installation_schema(await installation_with_tools(parts), parts.settings.prices.models)


@router.post(
    "/validate",
    summary="Check a document without applying it",
    description="The answer is 200 even if the document has mistakes: they are in the answer.",
    openapi_extra=DOCUMENT,
    responses=guarded_responses(InvalidRequest, TooBusy),
)
async def validate_document(
    parts: InjectedParts, request: Request, caller: Reader, file: File = "document"
) -> Validated:
    return await validate(parts, await request.body(), file=file, caller=caller)


@router.post(
    "/drafts",
    summary="Look at a workflow that is being written",
    description="Checks the document in a reply of a model, runs its tests with canned replies, and says what a run "
    "may cost at most. Nothing is applied, no model is called. The answer is 200 even if the document has mistakes.",
    response_model=DraftView,
    responses=guarded_responses(InvalidRequest, TooBusy),
)
async def describe_draft(parts: InjectedParts, request: DraftRequest, caller: Reader) -> Response:
    return Response(await look_at_draft(parts, request, caller), media_type="application/json")
