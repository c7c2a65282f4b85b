"""Conversations: the turns between a client of the chat API and a workflow, each of which is a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.runs.events import Failure
from flowyard.runs.run import Spending, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """A session in a list. `title`: that its user has given it; `opening`: the beginning of its first message.
    `spending`: of all its runs that are kept.
    """

    id: UUID
    workflow: str
    name: str
    title: str | None
    opening: str | None
    turns: int
    created_at: datetime
    used_at: datetime
    spending: Spending


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """`messages`: those that were new. `answer`: as the run's output has it; None: there is none, or none yet.

    `replaces`: the number of a turn: it, and those after it, are left out since this one. `is_replaced`: a later turn
    has this one left out.
    """

    number: int
    run_id: UUID
    status: State
    created_at: datetime
    messages: list[Any]
    answer: Any
    replaces: int | None
    is_replaced: bool
    finished_at: datetime | None
    error: Failure | None
    spending: Spending
