"""Shapes of the routes under `/v1/workflows`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field

from flowyard.api.pages import Page
from flowyard.language.nodes import Kind

WorkflowName: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[^/\x00-\x1f\x7f]+$", examples=["haiku"])
]
"""A name that can be a segment of a path. The language allows a few more names."""
RevisionNumber: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[3])]
Digest: TypeAlias = Annotated[
    str, Field(description="SHA-256 of the document's content: comments and layout don't count", examples=["9f86d081…"])
]


class DocumentProblem(BaseModel):
    """One problem of a document. Line and column count from 1."""

    file: Annotated[str, Field(examples=["triage.yaml"])]
    line: int
    column: int
    severity: Literal["error", "warning"]
    code: Annotated[str, Field(description="What is wrong, for programs", examples=["unknown-node"])]
    message: Annotated[str, Field(examples=["no node 'wirte'"])]
    suggestion: Annotated[str | None, Field(description="How to correct it", examples=["did you mean 'write'?"])]


class Applied(BaseModel):
    """The result of applying a document, or of a rollback."""

    name: str
    revision: Annotated[int, Field(description="The number of the current revision")]
    digest: Digest
    created: Annotated[bool, Field(description="Whether it made a new revision; false: its content is current already")]
    restores: Annotated[int | None, Field(description="The revision that a rollback restored")]
    warnings: list[DocumentProblem]


class Validated(BaseModel):
    """The result of checking a document."""

    valid: Annotated[bool, Field(description="Whether it could be applied; there may be warnings")]
    name: Annotated[str | None, Field(description="The workflow's name; null if the document isn't valid")]
    problems: list[DocumentProblem]


class WorkflowSummary(BaseModel):
    """A workflow in a list."""

    name: str
    revision: Annotated[int, Field(description="The number of the current revision")]
    digest: Digest
    concurrency: Annotated[int | None, Field(description="How many of its runs may run at once; null: no limit")]
    priority: Annotated[int, Field(description="The priority of runs that are submitted without one")]
    created_at: datetime
    updated_at: datetime


class WorkflowPage(Page[WorkflowSummary]):
    """Workflows, in the order of their names."""


class InputField(BaseModel):
    """An input of a workflow: a field of its state that a run begins with."""

    name: str
    type: Annotated[str, Field(description="The type in the language's notation", examples=["list[str]"])]
    required: bool
    default: Annotated[Any, Field(description="Its value if none is given; only of inputs that aren't required")]
    description: str | None
    json_schema: Annotated[dict[str, Any], Field(description="The JSON Schema of its values")]


class GraphNode(BaseModel):
    id: str
    kind: Annotated[
        Literal["start", "end", "join", Kind],
        Field(description="What the node does; `start` and `end`; `join`: branches meet, and a route is chosen"),
    ]
    name: str | None = None
    description: str | None = None
    model: Annotated[str | None, Field(description="The model that it calls", examples=["ollama/llama3.2"])] = None
    outputs: Annotated[list[str], Field(description="The fields that it writes")] = []


class GraphEdge(BaseModel):
    source: str
    target: str
    kind: Annotated[
        Literal["next", "route", "else", "again", "exit", "each", "error"],
        Field(
            description="`again`: back into a loop; `exit`: out of it; `each`: once per item; `error`: after a failure"
        ),
    ]
    label: Annotated[str, Field(description="The edge's condition or limit", examples=["score > 0.8"])] = ""


class Graph(BaseModel):
    """A workflow as a graph, for drawing it. START and END are nodes of it."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]


class WorkflowDetail(WorkflowSummary):
    """A workflow and its current revision."""

    description: str | None
    version: Annotated[str | None, Field(description="The version in the document")]
    tags: list[str]
    author: str | None
    document: Annotated[str, Field(description="The text of the document")]
    inputs: list[InputField]
    graph: Graph
    problems: Annotated[
        list[DocumentProblem],
        Field(description="Errors only if this version refuses what an older one accepted: then no run can start"),
    ]


class RevisionSummary(BaseModel):
    number: int
    digest: Digest
    restores: Annotated[int | None, Field(description="The revision that a rollback restored")]
    created_at: datetime


class RevisionDetail(RevisionSummary):
    document: str


class RevisionPage(Page[RevisionSummary]):
    """Revisions, newest first."""


class Difference(BaseModel):
    """The difference between two revisions."""

    older: Annotated[int, Field(description="The number of revision `from`")]
    newer: Annotated[int, Field(description="The number of revision `to`")]
    sections: Annotated[
        list[str], Field(description="The top-level keys whose content differs", examples=[["nodes", "edges"]])
    ]
    text: Annotated[str, Field(description="A unified diff of the documents' texts")]


class Rollback(BaseModel, extra="forbid"):
    revision: Annotated[RevisionNumber, Field(strict=True, description="The revision to restore")]


class Deleted(BaseModel):
    name: str
    cancelled: Annotated[list[UUID], Field(description="Open runs that were cancelled")]
    cancelling: Annotated[list[UUID], Field(description="Running runs that their executors will cancel")]
