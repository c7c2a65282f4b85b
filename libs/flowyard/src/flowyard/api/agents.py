"""Shapes of the routes under `/v1/agents`."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flowyard.api.pages import Page

AgentId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$", examples=["executor-1"])]
AgentKind: TypeAlias = Literal["executor", "http", "nats"]
Line: TypeAlias = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
MOST_BYTES: Final = 65_536
MOST_LEVELS: Final = 20
Count: TypeAlias = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]


class Registration(BaseModel):
    """An agent that says that it is there. Sent again with the same id, it brings what is known up to date."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "id": "translator-1",
                    "name": "translator",
                    "kind": "http",
                    "version": "1.4.0",
                    "host": "http://127.0.0.1:9000",
                    "capabilities": {"languages": ["de", "fr"]},
                }
            ]
        },
    )

    id: Annotated[AgentId, Field(description="Its own: no two agents have the same")]
    name: Annotated[Line, Field(min_length=1, description="What it is called; several agents may share a name")]
    kind: AgentKind
    version: Annotated[Line, Field(description="Of the agent's program")] = ""
    host: Annotated[Line, Field(description="Where it runs, or its address")] = ""
    capabilities: Annotated[
        dict[str, Any], AfterValidator(_storable), Field(description="What it can do, as it says itself")
    ] = {}


class Heartbeat(BaseModel):
    """A heartbeat. What it leaves out is unknown."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"slots": 32, "slots_used": 3}]})

    slots: Annotated[Count | None, Field(description="Runs that it may execute at once")] = None
    slots_used: Annotated[Count | None, Field(description="Runs that it executes now")] = None


class AgentInfo(BaseModel):
    id: str
    name: str
    kind: AgentKind
    version: str
    host: str
    capabilities: dict[str, Any]
    slots: Annotated[int | None, Field(description="Runs that it may execute at once; null: unknown")]
    slots_used: Annotated[int | None, Field(description="From its last heartbeat; null: unknown")]
    registered_at: datetime
    heartbeat_at: Annotated[datetime, Field(description="When its last heartbeat came")]
    ttl_s: Annotated[float, Field(description="After so many seconds without a heartbeat it is forgotten")]
    heartbeat_s: Annotated[float, Field(description="Seconds between the heartbeats that it should send")]


class AgentPage(Page[AgentInfo]):
    """By id."""


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    """JSON has room for what no database and no answer can hold: half a character, NaN, a thousand levels."""
    if _levels(value) > MOST_LEVELS:
        raise ValueError(f"it has more than {MOST_LEVELS} levels")
    try:
        size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is no character") from None
    except ValueError:
        raise ValueError("it holds a number that isn't finite") from None
    if size > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    return value


def _levels(value: object) -> int:
    """As many as there are, or one more than are allowed."""
    count, level = 0, [value]
    while level and count <= MOST_LEVELS:
        count += 1
        level = [inner for outer in level for inner in _within(outer)]
    return count


def _within(value: object) -> Collection[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
