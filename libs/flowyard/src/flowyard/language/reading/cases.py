"""The keys of a document's tests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from flowyard.language.reading.keys import RunErrorCode, Shape


class ExpectShape(Shape):
    status: Literal["succeeded", "failed"] | None = None
    outputs: dict[str, Any] | None = Field(None, description="Values of state fields at the end.")
    nodes: list[str] | None = Field(None, description="The steps, in order.")
    error: RunErrorCode | None = Field(None, description="The code of the error that ends the run.")
    calls: dict[str, Annotated[int, Field(ge=0)]] | None = Field(None, description="Model calls per node.")


class CaseShape(Shape):
    name: str = Field(min_length=1)
    inputs: dict[str, Any] | None = None
    replies: dict[str, Any] | None = Field(
        None, description="Per node: a reply, or a list of them for its calls in turn."
    )
    expect: ExpectShape | None = None
