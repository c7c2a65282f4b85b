"""Shapes of the routes under `/v1/keys`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from flowyard.access import Scope
from flowyard.api import examples


class KeyRequest(BaseModel, extra="forbid", json_schema_extra={"examples": [examples.KEY_REQUEST]}):
    """A key to create."""

    name: Annotated[
        str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$", description="A name for people")
    ]
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, max_length=3, description="`read`; `run`, which includes it; `admin`, which includes both"),
    ]


class KeyView(BaseModel, json_schema_extra={"examples": [examples.KEY]}):
    """A key, without its text. `revoked_at` is null while it is valid."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None


class NewKeyView(KeyView, json_schema_extra={"examples": [examples.NEW_KEY]}):
    """A key, and its text."""

    key: Annotated[str, Field(description="The text for `Authorization: Bearer`. It is shown only once.")]


class KeyList(BaseModel):
    """All keys, newest first."""

    items: list[KeyView]
