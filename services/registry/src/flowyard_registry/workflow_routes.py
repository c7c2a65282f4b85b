"""The routes under `/v1/workflows`."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from flowyard.access import Caller
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
    WorkflowDetail,
    WorkflowName,
    WorkflowPage,
    WorkflowSummary,
)
from flowyard.errors.requests import (
    Forbidden,
    InvalidDocument,
    InvalidRequest,
    PathTaken,
    TooBusy,
    UnknownRevision,
    UnknownWorkflow,
    WorkflowInUse,
)
from flowyard.web.auth import READ, Acting, require
from flowyard.web.problems import guarded, guarded_responses
from flowyard.web.strict_json import StrictJsonRoute
from flowyard_registry.apply import apply_document, roll_back
from flowyard_registry.compare import compare
from flowyard_registry.delete import delete_workflow
from flowyard_registry.describe import workflow_detail
from flowyard_registry.documents import read_revision
from flowyard_registry.parts import InjectedParts
from flowyard_registry.routing import DOCUMENT, File

Name: TypeAlias = Annotated[WorkflowName, Path(description="The workflow's name")]
Number: TypeAlias = Annotated[RevisionNumber, Path(description="The revision's number")]
MayWrite: TypeAlias = Annotated[Caller, Depends(require("write"))]
Own: TypeAlias = Annotated[Caller, Depends(require("read", reach="own"))]
PageLimit: TypeAlias = Annotated[int, Query(ge=1, le=MOST, description="How many items at most")]

router = APIRouter(prefix="/v1/workflows", tags=["workflows"], route_class=StrictJsonRoute)


@router.put(
    "/{name}",
    summary="Apply a document",
    description="Makes a new revision, unless the current one has the same content.",
    openapi_extra=DOCUMENT,
    responses={
        201: {"model": Applied, "description": "A new workflow"},
        **guarded_responses(InvalidDocument, InvalidRequest, PathTaken, TooBusy),
    },
)
async def apply_workflow(  # noqa: PLR0917  # FastAPI passes them by name
    parts: InjectedParts,
    name: Name,
    request: Request,
    response: Response,
    caller: MayWrite,
    by: Acting,
    file: File = "document",
) -> Applied:
    applied = await apply_document(parts, name, await request.body(), file=file, caller=caller, by=by)
    if applied.created and applied.revision == 1:
        response.status_code = 201
        response.headers["location"] = f"/v1/workflows/{quote(name, safe='')}"
    return applied


@router.post(
    "/{name}/rollback",
    summary="Restore an older revision",
    description="Makes a new revision with the document of the older one.",
    responses=guarded_responses(UnknownWorkflow, UnknownRevision, InvalidDocument, PathTaken, TooBusy),
)
async def roll_back_workflow(
    parts: InjectedParts, name: Name, rollback: Rollback, caller: MayWrite, by: Acting
) -> Applied:
    return await roll_back(parts, name, rollback.revision, caller=caller, by=by)


@router.delete(
    "/{name}",
    summary="Delete a workflow",
    description=(
        "Deletes all its revisions. Finished runs stay, with their documents. `force` needs the scope `run`, too."
    ),
    responses=guarded_responses(UnknownWorkflow, WorkflowInUse),
)
async def delete(
    parts: InjectedParts,
    name: Name,
    caller: MayWrite,
    by: Acting,
    *,
    force: Annotated[bool, Query(description="Cancel its open runs; otherwise they are an error")] = False,
) -> Deleted:
    if force and not caller.may("run"):
        raise Forbidden(scope="run", key_name=caller.name)
    return await delete_workflow(parts, name, force=force, by=by)


@router.get(
    "",
    summary="List the workflows",
    description="By name. `next_cursor` is null on the last page.",
    responses=guarded_responses(),
)
async def list_workflows(
    parts: InjectedParts,
    caller: Own,
    *,
    cursor: Annotated[WorkflowName | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: PageLimit = DEFAULT_LIMIT,
    search: Annotated[WorkflowName | None, Query(description="A part of the name; case doesn't matter")] = None,
) -> WorkflowPage:
    workflows = await parts.workflows.page(after=cursor, limit=limit + 1, search=search, only=caller.workflows)
    cursor_after = workflows[limit - 1].name if len(workflows) > limit else None
    items = [WorkflowSummary.model_validate(listed, from_attributes=True) for listed in workflows[:limit]]
    return WorkflowPage(items=items, next_cursor=cursor_after)


@router.get(
    "/{name}",
    summary="Get a workflow",
    description="Its current revision, with the document.",
    **guarded(READ, UnknownWorkflow),
)
async def get_workflow(parts: InjectedParts, name: Name) -> WorkflowDetail:
    listed, current = await parts.workflows.get(name)
    return workflow_detail(listed, current.document, await read_revision(parts.documents, current))


@router.get(
    "/{name}/revisions",
    summary="List revisions",
    description="The newest first. `next_cursor` is null on the last page.",
    **guarded(READ, UnknownWorkflow),
)
async def list_revisions(
    parts: InjectedParts,
    name: Name,
    cursor: Annotated[RevisionNumber | None, Query(description="The `next_cursor` of the previous page")] = None,
    limit: PageLimit = DEFAULT_LIMIT,
) -> RevisionPage:
    heads = await parts.workflows.revisions(name, before=cursor, limit=limit + 1)
    cursor_after = str(heads[limit - 1].number) if len(heads) > limit else None
    items = [RevisionSummary.model_validate(head, from_attributes=True) for head in heads[:limit]]
    return RevisionPage(items=items, next_cursor=cursor_after)


@router.get(
    "/{name}/revisions/{number}",
    summary="Get a revision",
    description="With its document, as it was applied.",
    **guarded(READ, UnknownWorkflow, UnknownRevision),
)
async def get_revision(parts: InjectedParts, name: Name, number: Number) -> RevisionDetail:
    return RevisionDetail.model_validate(await parts.workflows.revision(name, number), from_attributes=True)


@router.get(
    "/{name}/diff",
    summary="Compare two revisions",
    description="As a unified diff, and the top-level keys that differ.",
    **guarded(READ, UnknownWorkflow, UnknownRevision),
)
async def compare_revisions(
    parts: InjectedParts,
    name: Name,
    older: Annotated[RevisionNumber | None, Query(alias="from", description="Default: the one before `to`")] = None,
    newer: Annotated[RevisionNumber | None, Query(alias="to", description="Default: the current one")] = None,
) -> Difference:
    return await compare(parts, name, older, newer)
