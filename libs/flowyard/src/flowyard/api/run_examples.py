"""Examples for the OpenAPI document: one run, with its events, steps and calls."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Example: TypeAlias = dict[str, Any]

_ID: Final = "019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20"
_OTHER: Final = "019adf3c-7011-7d02-8b1e-20c4a9d5e6f7"

REQUEST: Final[Example] = {"inputs": {"topic": "autumn rain"}}
FORK: Final[Example] = {"from": {"node": "write", "visit": 1}, "state": {"topic": "winter rain"}}
CANCEL: Final[Example] = {"workflow": "haiku", "status": ["queued", "waiting"]}
CANCELLED: Final[Example] = {"count": 2, "run_ids": [_ID, _OTHER], "skipped": {}, "next_cursor": None}
SUMMARY: Final[Example] = {
    "id": _ID,
    "workflow": "haiku",
    "revision": 3,
    "digest": "6b1f4d0e2a9c7385e0d14b6a8c2f59731e0b4d7a96c8f2513ad07be94c618f25",
    "status": "succeeded",
    "priority": 0,
    "attempt": 1,
    "created_at": "2026-11-23T03:50:45.120000+00:00",
    "started_at": "2026-11-23T03:50:45.124000+00:00",
    "finished_at": "2026-11-23T03:50:46.302000+00:00",
    "wake_at": None,
    "cancel_requested": False,
    "executor": None,
    "last_seq": 6,
    "error": None,
    "spending": {"calls": 1, "tokens_in": 24, "tokens_out": 19, "cost_usd": "0.00012"},
    "forked_from": None,
}
RUN: Final[Example] = SUMMARY | {"inputs": {"topic": "autumn rain"}, "outputs": {"poem": "Rain on the last leaves"}}
EVENT: Final[Example] = {
    "seq": 5,
    "at": "2026-11-23T03:50:46.300000+00:00",
    "type": "step.finished",
    "data": {"node": "write", "visit": 1, "duration_s": 1.174, "outputs": {"poem": "Rain on the last leaves"}},
}
TOKEN: Final[Example] = {"node": "write", "visit": 1, "item": None, "epoch": 1, "text": "Rain"}
STEP: Final[Example] = {
    "node": "write",
    "visit": 1,
    "item": None,
    "status": "succeeded",
    "seq": 5,
    "started_at": "2026-11-23T03:50:45.126000+00:00",
    "duration_s": 1.174,
    "outputs": {"poem": "Rain on the last leaves"},
    "error": None,
    "handled": None,
    "tries": 1,
}
CALL: Final[Example] = {
    "seq": 4,
    "node": "write",
    "visit": 1,
    "item": None,
    "provider": "openai",
    "model": "gpt-4o-mini",
    "at": "2026-11-23T03:50:46.300000+00:00",
    "duration_s": 1.17,
    "first_token_s": 0.31,
    "tokens_in": 24,
    "tokens_out": 19,
    "tokens_cached": 0,
    "cost_usd": "0.00012",
    "error": None,
    "retries": 0,
}
