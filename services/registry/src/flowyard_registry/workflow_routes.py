"""The routes under `/v1/workflows`, and what belongs to the language."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from flowyard.api.pages import DEFAULT_LIMIT, MOST
from flowyard.api.workflows import (
    Applied,
    Deleted,
    Difference,
    RevisionDetail,
    RevisionNumber,
    RevisionPage,
    RevisionSummary,
    Rollback,
    Validated,
    WorkflowDetail,
    WorkflowName,
    WorkflowPage,
    WorkflowSummary,
)
from flowyard.errors import (
    Forbidden,
    InvalidDocument,
    InvalidRequest,
    Unauthorized,
    Unavailable,
    UnknownRevision,
    UnknownWorkflow,
    WorkflowInUse,
)
from flowyard.language.reading.schema import document_schema
from flowyard.storage.workflows import Head, Listed
from flowyard.web.auth import require
from flowyard.web.problems import problem_responses
from flowyard_registry.apply import apply_document, roll_back, validate
from flowyard_registry.compare import compare
from flowyard_registry.delete import delete_workflow
from flowyard_registry.describe import described
from flowyard_registry.documents import read_revision
from flowyard_registry.parts import Parts

_GUARDED: Final = (Unauthorized, Forbidden, Unavailable)
_READ: Final = [Depends(require("read"))]
_ADMIN: Final = [Depends(require("admin"))]

Name: TypeAlias = Annotated[WorkflowName, Path(description="The workflow's name")]
Number: TypeAlias = Annotated[RevisionNumber, Path(description="The revision's number")]
File: TypeAlias = Annotated[
    str, Query(max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$", description="What problems call the document by")
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MOST, description="The most that one page holds")]

_EXAMPLE: Final = """\
flow: {name: haiku}
state:
  fields:
    topic: {type: str, required: true}
    poem: str
nodes:
  - id: write
    prompt: Write a haiku about {topic}.
    outputs: [poem]
"""
_AS_TEXT: Final = {"schema": {"type": "string", "minLength": 1}, "examples": {"haiku": {"value": _EXAMPLE}}}
_DOCUMENT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The document itself, as YAML or JSON. Its JSON Schema is at `/v1/schema`.",
        "content": {
            "application/yaml": _AS_TEXT,
            "text/yaml": _AS_TEXT,
            "text/plain": _AS_TEXT,
            "application/json": {"schema": {}},
        },
    }
}


def workflow_routes(parts: Parts) -> APIRouter:
    router = APIRouter(prefix="/v1/workflows", tags=["workflows"])
    _add_changes(router, parts)
    _add_views(router, parts)
    _add_revisions(router, parts)
    return router


def language_routes() -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["language"])
    schema = document_schema()

    @router.get("/schema", summary="The JSON Schema of documents", dependencies=_READ, responses=_problems())
    async def get_schema() -> dict[str, Any]:
        return schema

    @router.post(
        "/validate",
        summary="What a document would be told, without applying it",
        dependencies=_READ,
        openapi_extra=_DOCUMENT,
        responses=_problems(InvalidRequest),
    )
    async def validate_document(request: Request, file: File = "document") -> Validated:
        return await validate(await request.body(), file=file)

    return router


def _add_changes(router: APIRouter, parts: Parts) -> None:
    @router.put(
        "/{name}",
        summary="Apply a document",
        description="A document with the content of the current revision changes nothing; any other makes a new one.",
        dependencies=_ADMIN,
        openapi_extra=_DOCUMENT,
        responses={
            201: {"model": Applied, "description": "A new workflow"},
            **_problems(InvalidDocument, InvalidRequest),
        },
    )
    async def apply_workflow(name: Name, request: Request, response: Response, file: File = "document") -> Applied:
        applied = await apply_document(parts, name, await request.body(), file=file)
        if applied.created and applied.revision == 1:
            response.status_code = 201
            response.headers["location"] = f"/v1/workflows/{quote(name, safe='')}"
        return applied

    @router.post(
        "/{name}/rollback",
        summary="Bring an older revision back",
        description="It becomes a new revision, with the older one's document.",
        dependencies=_ADMIN,
        responses=_problems(UnknownWorkflow, UnknownRevision, InvalidDocument),
    )
    async def roll_back_workflow(name: Name, rollback: Rollback) -> Applied:
        return await roll_back(parts, name, rollback.revision)

    @router.delete(
        "/{name}",
        summary="Delete a workflow",
        description="With all its revisions. Runs that have ended stay, with the documents that they ran.",
        dependencies=_ADMIN,
        responses=_problems(UnknownWorkflow, WorkflowInUse),
    )
    async def delete(
        name: Name, *, force: Annotated[bool, Query(description="Cancel its open runs, instead of refusing")] = False
    ) -> Deleted:
        return await delete_workflow(parts, name, force=force)


def _add_views(router: APIRouter, parts: Parts) -> None:
    @router.get("", summary="All workflows", dependencies=_READ, responses=_problems())
    async def list_workflows(
        *,
        cursor: Annotated[WorkflowName | None, Query(description="The `next_cursor` of the page before")] = None,
        limit: Limit = DEFAULT_LIMIT,
        search: Annotated[WorkflowName | None, Query(description="A part of the name, in either case")] = None,
    ) -> WorkflowPage:
        found = await parts.workflows.page(after=cursor, limit=limit + 1, search=search)
        more = found[limit - 1].name if len(found) > limit else None
        return WorkflowPage(items=[_summary(listed) for listed in found[:limit]], next_cursor=more)

    @router.get("/{name}", summary="A workflow", dependencies=_READ, responses=_problems(UnknownWorkflow))
    async def get_workflow(name: Name) -> WorkflowDetail:
        listed, current = await parts.workflows.get(name)
        return described(listed, current.document, await read_revision(parts.documents, current))


def _add_revisions(router: APIRouter, parts: Parts) -> None:
    @router.get("/{name}/revisions", summary="Its revisions", dependencies=_READ, responses=_problems(UnknownWorkflow))
    async def list_revisions(
        name: Name,
        cursor: Annotated[RevisionNumber | None, Query(description="The `next_cursor` of the page before")] = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> RevisionPage:
        found = await parts.workflows.revisions(name, before=cursor, limit=limit + 1)
        more = str(found[limit - 1].number) if len(found) > limit else None
        return RevisionPage(items=[RevisionSummary(**_facts(head)) for head in found[:limit]], next_cursor=more)

    @router.get(
        "/{name}/revisions/{number}",
        summary="One revision",
        dependencies=_READ,
        responses=_problems(UnknownWorkflow, UnknownRevision),
    )
    async def get_revision(name: Name, number: Number) -> RevisionDetail:
        revision = await parts.workflows.revision(name, number)
        return RevisionDetail(**_facts(revision), document=revision.document)

    @router.get(
        "/{name}/diff",
        summary="What changed between two revisions",
        dependencies=_READ,
        responses=_problems(UnknownWorkflow, UnknownRevision),
    )
    async def compare_revisions(
        name: Name,
        older: Annotated[
            RevisionNumber | None, Query(alias="from", description="Left out: the one before the newer")
        ] = None,
        newer: Annotated[RevisionNumber | None, Query(alias="to", description="Left out: the current one")] = None,
    ) -> Difference:
        return await compare(parts, name, older, newer)


def _problems(*errors: type[Any]) -> dict[int | str, dict[str, Any]]:
    return problem_responses(*_GUARDED, *errors)


def _summary(listed: Listed) -> WorkflowSummary:
    return WorkflowSummary.model_validate(listed, from_attributes=True)


def _facts(head: Head) -> dict[str, Any]:
    return {"number": head.number, "digest": head.digest, "restores": head.restores, "created_at": head.created_at}
