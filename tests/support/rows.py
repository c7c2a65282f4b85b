"""Rows of steps and model calls, where a test names only the fields that matter to it, and commits of them."""

from __future__ import annotations

from typing import Any

from flowyard.runs.claim import Claim
from flowyard.runs.events import StepId
from flowyard.runs.run import Step
from flowyard.storage.commits import RunCommit
from flowyard.storage.rows import CallRow
from support.stored import LONG_AGO, commit_of


def step_row(seq: int, step: str | StepId = "write", **fields: Any) -> Step:
    """A step that has succeeded without outputs, unless `fields` differ. `step`: it, or its node."""
    usual: dict[str, Any] = {"status": "succeeded", "tries": 1, "started_at": LONG_AGO, "duration_s": 0.5}
    if "error" not in fields:
        usual["outputs"] = {}
    id_ = _step_id(step)
    return Step(seq=seq, node=id_.node, visit=id_.visit, item=id_.item, **{**usual, **fields})


def call_row(seq: int, step: str | StepId = "write", **fields: Any) -> CallRow:
    """A call of unknown cost that has succeeded, unless `fields` differ. `step`: whose it is, or its node."""
    usual: dict[str, Any] = {
        "part": seq,
        "provider": "openai",
        "model": "small",
        "at": LONG_AGO,
        "duration_s": 0.5,
        "first_token_s": None,
        "tokens_in": 10,
        "tokens_out": 5,
        "tokens_cached": None,
        "cost_usd": None,
        "error": None,
    }
    return CallRow(seq=seq, step=_step_id(step), **{**usual, **fields})


def full_commit(claim: Claim) -> RunCommit:
    """A commit with a row for every table."""
    commit = commit_of(claim)
    commit.add_step(step_row(commit.last_seq))
    commit.add_call(call_row(commit.last_seq))
    return commit


def _step_id(step: str | StepId) -> StepId:
    return step if isinstance(step, StepId) else StepId(step, 1)
