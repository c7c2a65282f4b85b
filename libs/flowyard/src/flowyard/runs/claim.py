"""The right of one executor to work on a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flowyard.runs.budget import Amount
from flowyard.runs.run import Fork


@dataclass(frozen=True, slots=True)
class Claim:
    """What an executor needs to execute a run that it has claimed. Times are the database's. `inputs`: as JSON.

    `left_s`: seconds until the run's deadline; `waited_s`: seconds since it was queued. `started_at`: when it was first
    claimed; `at`: when this claim was made. `epoch`: the fencing token of every write under the claim.

    `engine`: the rules by which the run goes on. `has_steps`: some of its steps are recorded. `spent`: of its budget,
    by the calls of earlier claims; None: see the ledger. `has_limit`: its workflow limits how many of its runs are at
    work. `requested_at`: when its executor requested it, by its monotonic clock: before the lease began.
    """

    run_id: UUID
    epoch: int
    workflow: str
    revision: int
    definition: int
    digest: str
    inputs: str
    fork: Fork | None
    engine: int
    attempt: int
    max_attempts: int
    last_seq: int
    has_steps: bool
    timeout_s: float | None
    left_s: float | None
    waited_s: float
    cancel_requested: bool
    started_at: datetime
    at: datetime
    requested_at: float
    spent: Amount | None = None
    has_limit: bool = False
