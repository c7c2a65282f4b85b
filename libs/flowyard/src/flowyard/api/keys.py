"""Shapes of the routes under `/v1/keys`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema, model_validator

from flowyard.access import Scope
from flowyard.api import examples
from flowyard.api.moments import HOW_TO_WRITE, read_moment
from flowyard.api.workflows import WorkflowName

MOST_WORKFLOWS: Final = 100
MOST_PER_MINUTE: Final = 1_000_000
LONGEST_OVERLAP_S: Final = 90 * 86_400
DEFAULT_OVERLAP_S: Final = 86_400


def _read_end(value: object) -> datetime | timedelta:
    match value:
        case str():
            return read_moment(value)
        case datetime():
            return value
        case _:
            raise ValueError(f"should be {HOW_TO_WRITE}")


End: TypeAlias = Annotated[
    datetime | timedelta,
    PlainValidator(_read_end),
    WithJsonSchema({"type": "string", "description": f"From now on, {HOW_TO_WRITE}", "examples": ["30d"]}),
]


class KeyRequest(BaseModel, extra="forbid", json_schema_extra={"examples": [examples.KEY_REQUEST]}):
    """A key to create."""

    name: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$", description="A name for people")
    ]
    scopes: Annotated[
        list[Scope],
        Field(
            min_length=1,
            max_length=4,
            description="`read`; `run` and `write`, which include it; `admin`, which includes all",
        ),
    ]
    workflows: Annotated[
        list[WorkflowName] | None,
        Field(
            min_length=1,
            max_length=MOST_WORKFLOWS,
            description="The only workflows that it is for; not with the scope `admin`. Default: all",
        ),
    ] = None
    requests_per_minute: Annotated[
        int | None,
        Field(ge=1, le=MOST_PER_MINUTE, strict=True, description="At all gateways together. Default: no limit"),
    ] = None
    expires: Annotated[End | None, Field(description="When it ends to be valid. Default: never")] = None

    @model_validator(mode="after")
    def _no_admin_of_some(self) -> KeyRequest:
        if self.workflows is not None and "admin" in self.scopes:
            raise ValueError("a key with the scope `admin` is for all workflows: leave out `workflows`")
        return self


class RotateRequest(BaseModel, extra="forbid", json_schema_extra={"examples": [{"overlap_s": 86_400}]}):
    """How a key gets another secret."""

    overlap_s: Annotated[
        float,
        Field(ge=0, le=LONGEST_OVERLAP_S, strict=True, description="Seconds for which the old secret stays valid"),
    ] = DEFAULT_OVERLAP_S
    expires: Annotated[End | None, Field(description="When the key ends to be valid. Default: as before")] = None


class KeyView(BaseModel, json_schema_extra={"examples": [examples.KEY]}):
    """A key, without its text. `revoked_at` is null while it isn't revoked."""

    id: str
    name: str
    scopes: list[Scope]
    workflows: Annotated[list[str] | None, Field(description="The only ones that it is for; null: all")]
    requests_per_minute: Annotated[int | None, Field(description="null: no limit")]
    created_at: datetime
    expires_at: Annotated[datetime | None, Field(description="null: never")]
    last_used_at: Annotated[datetime | None, Field(description="May be a minute old; null: never")]
    revoked_at: datetime | None
    old_secret_until: Annotated[
        datetime | None,
        Field(description="Until then the secret before the last rotation is valid, too; null: it isn't"),
    ]


class NewKeyView(KeyView, json_schema_extra={"examples": [examples.NEW_KEY]}):
    """A key, and its text."""

    key: Annotated[str, Field(description="The text for `Authorization: Bearer`. It is shown only once.")]


class KeyList(BaseModel):
    """All keys, newest first."""

    items: list[KeyView]
