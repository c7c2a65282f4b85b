"""An executor's right to a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.runs.run import Fork


@dataclass(frozen=True, slots=True)
class Claim:
    """What an executor needs to go on with a run. Seconds are the database's: `left_s` until the run's deadline,
    `waited_s` since it was queued. `started_at`: its first claim; `at`: this one.

    `head_checkpoint`: from where it resumes; None: from its beginning. `has_steps`: some of its steps have ended.
    """

    run_id: UUID
    epoch: int
    workflow: str
    revision: int
    definition: int
    digest: str
    inputs: Mapping[str, Any]
    fork: Fork | None
    attempt: int
    max_attempts: int
    last_seq: int
    head_checkpoint: str | None
    has_steps: bool
    timeout_s: float | None
    left_s: float | None
    waited_s: float
    cancel_requested: bool
    started_at: datetime
    at: datetime
