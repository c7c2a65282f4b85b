"""Shapes of the route `/v1/audit`, and the check of a chain of its items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from flowyard.api import examples

FIRST_PREVIOUS: Final = "0" * 64
MOST_ROWS: Final = 1000


class AuditEntry(BaseModel, json_schema_extra={"examples": [examples.AUDIT_ENTRY]}):
    """An act. `hash`: the SHA-256, in hexadecimal digits, of all other keys as compact JSON in UTF-8, in this order."""

    number: Annotated[int, Field(description="Its place in the chain, without gaps")]
    at: Annotated[str, Field(description="When it was done: RFC 3339, UTC, with microseconds")]
    act: Annotated[str, Field(description="Such as `run.submitted`")]
    key_id: Annotated[str | None, Field(description="null: it was done without a key")]
    who: Annotated[str, Field(description="The name of the key, or what did it without a key")]
    address: Annotated[
        str | None, Field(description="Where the request came from; null: from the machine of the stack")
    ]
    workflow: str | None
    objects: Annotated[list[str], Field(description="The ids of what it was done with: runs, a key, an agent")]
    details: dict[str, Any] | None
    previous: Annotated[str, Field(description="The `hash` of the row before; of the first one: zeros")]
    hash: str

    def computed_hash(self) -> str:
        data = self.model_dump(exclude={"hash"})
        return hashlib.sha256(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


class AuditPage(BaseModel):
    """A part of the audit log."""

    items: list[AuditEntry]
    next_cursor: Annotated[int | None, Field(description="The `cursor` of the next page; null: there is none")]


class BrokenChain(Exception):
    """Its text says which row doesn't fit, and why."""


def checked(entries: Iterable[AuditEntry]) -> Iterable[AuditEntry]:
    """The entries, in the order of the chain, each after it was checked. Raises BrokenChain.

    The first one may have any number: older ones may have been deleted.
    """
    last: AuditEntry | None = None
    for entry in entries:
        if entry.hash != entry.computed_hash():
            raise BrokenChain(f"row {entry.number} was changed: its hash doesn't fit its content")
        if last is not None and entry.number != last.number + 1:
            raise BrokenChain(
                f"after row {last.number} comes row {entry.number}: rows are missing, or in another order"
            )
        previous = FIRST_PREVIOUS if entry.number == 1 else last.hash if last is not None else entry.previous
        if entry.previous != previous:
            raise BrokenChain(f"row {entry.number} doesn't follow the row before it: that one was changed or replaced")
        last = entry
        yield entry
