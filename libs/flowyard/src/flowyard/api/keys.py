"""Shapes of the routes under `/v1/keys`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from flowyard.access import Scope

_EXAMPLE: Final[dict[str, Any]] = {
    "id": "k7c2qmzd",
    "name": "nightly import",
    "scopes": ["run"],
    "created_at": "2026-11-23T03:50:45.120000+00:00",
    "revoked_at": None,
}


class KeyRequest(BaseModel):
    """A key to create."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "nightly import", "scopes": ["run"]}]}
    )

    name: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$", description="A name for people")
    ]
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, max_length=3, description="`read`; `run`, which includes it; `admin`, which includes both"),
    ]


class KeyView(BaseModel):
    """A key, without its text. `revoked_at` is null while it is valid."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None


class NewKeyView(KeyView):
    """A key, and its text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE | {"key": "fy_k7c2qmzd_abcdefghijklmnopqrstuvwxyz234567abcdefgh"}]}
    )

    key: Annotated[str, Field(description="The text for `Authorization: Bearer`. It is shown only once.")]


class KeyList(BaseModel):
    """All keys, newest first."""

    items: list[KeyView]
