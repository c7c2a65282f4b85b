"""Shapes of `/v1/drafts`: what is shown of a workflow that somebody is writing, before it is applied."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from flowyard.api.workflows import DocumentProblem, Graph, InputField


class DraftRequest(BaseModel, extra="forbid"):
    """A reply with a document in a block ```yaml, or a document."""

    text: Annotated[str, Field(max_length=1_000_000, description="A reply of a model, or a document")]
    last: Annotated[
        str | None, Field(max_length=1_000_000, description="The version before it, to compare: a reply or a document")
    ] = None


class DraftTest(BaseModel):
    """A test of the document, which was run with canned replies."""

    name: str
    passed: Annotated[bool | None, Field(description="null: it wasn't run")]
    faults: Annotated[list[str], Field(description="Differences from what it expects")]


class DraftCost(BaseModel):
    """What a run may cost at most. Unknown is null, and not zero."""

    usd: Annotated[str | None, Field(description="In US dollars, a decimal number; null: not bounded, or not known")]
    replies_usd: Annotated[str | None, Field(description="What all replies cost at most, without the prompts")]
    calls: Annotated[int | None, Field(description="Most calls of models, with retries and fallbacks; null: no bound")]
    why: Annotated[
        str, Field(description="What bounds the cost, or why nothing does", examples=["its models cost nothing"])
    ]


class DraftView(BaseModel):
    """A workflow that is being written. Nothing was applied, and no model was called."""

    document: Annotated[str | None, Field(description="Its text; null: there is none, such as in a question")] = None
    name: Annotated[str | None, Field(description="The workflow's name; null if the document isn't valid")] = None
    valid: Annotated[bool, Field(description="Whether it could be applied; its tests may fail")] = False
    problems: Annotated[list[DocumentProblem], Field(description="Errors and warnings, by lines of the document")] = []
    remarks: Annotated[
        list[str], Field(description="What else is wrong: no tests, tests that weren't run, several documents, no end")
    ] = []
    inputs: list[InputField] = []
    graph: Annotated[Graph | None, Field(description="null if the document isn't valid")] = None
    drawing: Annotated[str, Field(description="The graph as text, a line per edge")] = ""
    difference: Annotated[str, Field(description="A unified diff from `last`; empty without it")] = ""
    cost: Annotated[DraftCost | None, Field(description="null if the document isn't valid")] = None
    tests: list[DraftTest] = []

    @property
    def passed(self) -> bool:
        """Whether the document is valid, has tests, and all of them have passed."""
        return self.valid and bool(self.tests) and all(test.passed for test in self.tests)

    @property
    def untested(self) -> bool:
        """Whether it has tests, and none of them was run."""
        return bool(self.tests) and all(test.passed is None for test in self.tests)
