"""Deliveries: what came for a trigger, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

Outcome: TypeAlias = Literal[
    "started", "repeated", "unmatched", "failed", "unverified", "refused", "paused", "answered", "waiting", "skipped"
]
"""`repeated`: a copy of an earlier one. `failed`: it could not be mapped to inputs. `refused`: over a limit.

`answered`: a request by which the sender only looks who is there. Of fires: `waiting` for the end of an earlier run;
`skipped`, because of an earlier run, or because it was missed.
"""
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
DEDUPLICATED_S: Final = 24 * 3600
"""For how long copies of a delivery start nothing, in seconds."""
ACCEPTED: Final = 202
DONE: Final = 200
"""The statuses of responses to a delivery that has started a run, and to one that has started nothing."""
MOST_KEPT: Final = 256_000
"""Bytes of a payload, as JSON, that is kept; of a larger one, only its size and digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """`key`: no other delivery may have it for a day. `payload`, `headers`, `query`: as JSON, with secrets masked.

    `payload`: None if it is too large, or wasn't verified. `body_size`, `digest`: of the body as it came; the digest is
    SHA-256, None if the body wasn't read to its end. `fire_at`: the instant of a fire; a schedule has one row for each.
    """

    id: UUID
    workflow: str
    trigger: str
    outcome: Outcome
    body_size: int
    digest: bytes | None
    reason: str | None = None
    status: int | None = None
    run_id: UUID | None = None
    replays: UUID | None = None
    sender_id: str | None = None
    key: str | None = None
    fire_at: datetime | None = None
    address: str | None = None
    method: str | None = None
    query: str | None = None
    headers: str | None = None
    payload: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery without what it carried: see `DeliveryDetail`."""

    id: UUID
    received_at: datetime
    workflow: str
    trigger: str
    outcome: Outcome
    reason: str | None
    status: int | None
    run_id: UUID | None
    replays: UUID | None
    sender_id: str | None
    fire_at: datetime | None
    address: str | None
    method: str | None
    body_size: int
    digest: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDetail(Delivery):
    """`has_payload`: else it was too large to be kept, or not verified."""

    query: Mapping[str, Any] | None
    headers: Mapping[str, Any] | None
    payload: Any
    has_payload: bool


def copy_status(status: int | None) -> int | None:
    """The status of the response to a delivery that starts nothing. Senders that need another one have their own."""
    return DONE if status == ACCEPTED else status
