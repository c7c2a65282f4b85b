"""Shapes of the routes under `/v1/workflows`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flowyard.api.pages import Page
from flowyard.language.nodes import Kind

WorkflowName: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[^/\x00-\x1f\x7f]+$", examples=["haiku"])
]
"""A name that can stand in a path: the language allows some more."""
RevisionNumber: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[3])]
Digest: TypeAlias = Annotated[
    str, Field(description="SHA-256 of the document's content: comments and layout don't count", examples=["9f86d081…"])
]


class DocumentProblem(BaseModel):
    """One finding in a document. Line and column count from 1."""

    file: Annotated[str, Field(examples=["triage.yaml"])]
    line: int
    column: int
    severity: Literal["error", "warning"]
    code: Annotated[str, Field(description="What is wrong, for a program", examples=["unknown-node"])]
    message: Annotated[str, Field(examples=["no node 'wirte'"])]
    suggestion: Annotated[str | None, Field(description="What would be right", examples=["did you mean 'write'?"])]


class Applied(BaseModel):
    """What became of a document that was applied, or of a rollback."""

    name: str
    revision: Annotated[int, Field(description="The number of the current revision")]
    digest: Digest
    created: Annotated[bool, Field(description="A new revision was made; false: this content is current already")]
    restores: Annotated[int | None, Field(description="The revision that a rollback brought back")]
    warnings: list[DocumentProblem]


class Validated(BaseModel):
    """What is to be said about a document."""

    valid: Annotated[bool, Field(description="It could be applied; there may be warnings")]
    name: Annotated[str | None, Field(description="Of the workflow that it describes; null if it isn't valid")]
    problems: list[DocumentProblem]


class WorkflowSummary(BaseModel):
    """A workflow in a list."""

    name: str
    revision: Annotated[int, Field(description="The number of the current revision")]
    digest: Digest
    concurrency: Annotated[int | None, Field(description="Most of its runs at a time; null: no limit")]
    priority: Annotated[int, Field(description="Of its runs, unless they are given one")]
    created_at: datetime
    updated_at: datetime


class WorkflowPage(Page[WorkflowSummary]):
    """By name."""


class InputField(BaseModel):
    """A field of the state that a run is given."""

    name: str
    type: Annotated[str, Field(description="As the language writes it", examples=["list[str]"])]
    required: bool
    default: Annotated[Any, Field(description="What it is if it isn't given; only where it isn't required")]
    description: str | None
    json_schema: Annotated[dict[str, Any], Field(description="The JSON Schema of its values")]


class GraphNode(BaseModel):
    id: str
    kind: Annotated[
        Literal["start", "end", "join", Kind],
        Field(
            description="What a node does; or `start`, `end`, or `join`: a place without work, where branches meet and "
            "a route is chosen"
        ),
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
        Field(description="`again` leads back, and `exit` out of a loop; `each`: once per item; `error`: if it failed"),
    ]
    label: Annotated[str, Field(description="Its condition or limit", examples=["score > 0.8"])] = ""


class Graph(BaseModel):
    """A workflow as a drawing has it: START and END included, each way of a run an edge."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]


class WorkflowDetail(WorkflowSummary):
    """A workflow and its current revision."""

    description: str | None
    version: Annotated[str | None, Field(description="The document's own")]
    tags: list[str]
    author: str | None
    document: Annotated[str, Field(description="As it was written")]
    inputs: list[InputField]
    graph: Graph
    problems: Annotated[
        list[DocumentProblem],
        Field(
            description="Errors only if this version of Flowyard refuses what an older one took: then no run can start"
        ),
    ]


class RevisionSummary(BaseModel):
    number: int
    digest: Digest
    restores: Annotated[int | None, Field(description="The revision that a rollback brought back")]
    created_at: datetime


class RevisionDetail(RevisionSummary):
    document: str


class RevisionPage(Page[RevisionSummary]):
    """Newest first."""


class Difference(BaseModel):
    """What changed between two revisions."""

    older: Annotated[int, Field(description="The revision `from`")]
    newer: Annotated[int, Field(description="The revision `to`")]
    sections: Annotated[
        list[str], Field(description="Keys at the document's top whose content differs", examples=[["nodes", "edges"]])
    ]
    text: Annotated[str, Field(description="A unified diff of the documents, as they were written")]


class Rollback(BaseModel):
    model_config = ConfigDict(extra="forbid")

    revision: Annotated[RevisionNumber, Field(strict=True, description="The one to bring back")]


class Deleted(BaseModel):
    name: str
    cancelled: Annotated[list[UUID], Field(description="Open runs that have ended by it")]
    cancelling: Annotated[list[UUID], Field(description="Running ones that their executors end now")]
