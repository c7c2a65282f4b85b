"""Shapes of the routes under `/v1/agents`."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, Field

from flowyard.api import examples
from flowyard.api.pages import Page

AgentId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$", examples=["executor-1"])]
AgentKind: TypeAlias = Literal["executor", "http", "nats"]
Line: TypeAlias = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
MOST_BYTES: Final = 65_536
MOST_LEVELS: Final = 20
MOST_SLOTS: Final = 10_000
Count: TypeAlias = Annotated[int, Field(ge=0, le=MOST_SLOTS, strict=True)]


class Registration(BaseModel, extra="forbid", json_schema_extra={"examples": [examples.AGENT]}):
    """An agent that registers. Sent again with the same id and key, it updates the agent. Executors don't use it."""

    id: Annotated[AgentId, Field(description="Unique: no other agent has it")]
    name: Annotated[Line, Field(min_length=1, description="A name for people; several agents may share it")]
    kind: Literal["http", "nats"]
    version: Annotated[Line, Field(description="The version of the agent's program")] = ""
    host: Annotated[Line, Field(description="The host that it runs on, or its address")] = ""
    capabilities: Annotated[
        dict[str, Any], AfterValidator(_storable), Field(description="What it can do, as it reports itself")
    ] = {}


class Heartbeat(BaseModel, extra="forbid", json_schema_extra={"examples": [{"slots": 32, "slots_used": 3}]}):
    """A heartbeat of an agent. Values that it leaves out are unknown."""

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
    slots_used: Annotated[int | None, Field(description="By its last heartbeat; null: unknown")]
    registered_at: datetime
    heartbeat_at: Annotated[datetime, Field(description="When its last heartbeat came")]
    ttl_s: Annotated[float, Field(description="Seconds without a heartbeat after which it is removed")]
    heartbeat_s: Annotated[float, Field(description="Seconds between the heartbeats that it should send")]


class AgentPage(Page[AgentInfo]):
    """Agents, in the order of their ids."""


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError for JSON that can't be stored: U+0000, half a surrogate pair, NaN, too many levels or bytes."""
    if _levels(value) > MOST_LEVELS:
        raise ValueError(f"it has more than {MOST_LEVELS} levels")
    try:
        data = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is no character") from None
    except ValueError:
        raise ValueError("it holds a number that isn't finite") from None
    if b"\\u0000" in data.replace(b"\\\\", b""):
        raise ValueError("it holds the character U+0000")
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    return value


def _levels(value: object) -> int:
    """How many levels of nesting there are; counts no further than MOST_LEVELS + 1."""
    count, level = 0, [value]
    while level and count <= MOST_LEVELS:
        count += 1
        level = [inner for outer in level for inner in _children(outer)]
    return count


def _children(value: object) -> Collection[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
