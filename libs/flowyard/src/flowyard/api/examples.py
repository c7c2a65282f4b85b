"""Examples for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Example: TypeAlias = dict[str, Any]

_ID: Final = "019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20"
_OTHER: Final = "019adf3c-7011-7d02-8b1e-20c4a9d5e6f7"
_CREATED: Final = "2026-11-23T03:50:45.120000+00:00"
_SINCE: Final = "2026-11-16T08:00:00+00:00"
_STEP: Final[Example] = {"node": "write", "visit": 1, "item": None}

AGENT: Final[Example] = {
    "id": "translator-1", "name": "translator", "kind": "http", "version": "1.4.0", "host": "http://127.0.0.1:9000",
    "capabilities": {"languages": ["de", "fr"]},
}  # fmt: skip
_OF_KEY: Final[Example] = {
    "name": "nightly import", "scopes": ["run"], "workflows": ["import"], "requests_per_minute": 600,
}  # fmt: skip
KEY_REQUEST: Final[Example] = {**_OF_KEY, "expires": "30d"}
KEY: Final[Example] = {
    "id": "k7c2qmzd", **_OF_KEY, "created_at": _CREATED, "expires_at": None, "last_used_at": None, "revoked_at": None,
    "old_secret_until": None,
}  # fmt: skip
NEW_KEY: Final[Example] = KEY | {"key": "fy_k7c2qmzd_abcdefghijklmnopqrstuvwxyz234567abcdefgh"}
AUDIT_ENTRY: Final[Example] = {
    "number": 1207, "at": "2026-11-23T03:50:45.120000Z", "act": "run.submitted", "key_id": "k7c2qmzd",
    "who": "nightly import", "address": "192.0.2.7", "workflow": "import", "objects": [_ID], "details": None,
    "previous": "0b1c3f5a" * 8, "hash": "9d2e4c6b" * 8,
}  # fmt: skip

REQUEST: Final[Example] = {"inputs": {"topic": "autumn rain"}}
FORK: Final[Example] = {"from": {"node": "write", "visit": 1}, "state": {"topic": "winter rain"}}
FORK_PREVIEW: Final[Example] = {"kept": ["plan", "write"], "leaves_at": ["judge"]}
CANCEL: Final[Example] = {"workflow": "haiku", "status": ["queued", "waiting"]}
CANCELLED: Final[Example] = {"count": 2, "run_ids": [_ID, _OTHER], "skipped": {}, "next_cursor": None}
SUMMARY: Final[Example] = {
    "id": _ID, "workflow": "haiku", "revision": 3,
    "digest": "6b1f4d0e2a9c7385e0d14b6a8c2f59731e0b4d7a96c8f2513ad07be94c618f25",
    "status": "succeeded", "priority": 0, "attempt": 1, "created_at": _CREATED,
    "started_at": "2026-11-23T03:50:45.124000+00:00", "finished_at": "2026-11-23T03:50:46.302000+00:00",
    "wake_at": None, "cancel_requested": False, "executor": None, "worked_s": 1.178, "last_seq": 6, "error": None,
    "spending": {"calls": 1, "tokens_in": 24, "tokens_out": 19, "cost_usd": "0.00012"}, "forked_from": None,
    "session_id": None,
}  # fmt: skip
RUN: Final[Example] = SUMMARY | {"inputs": {"topic": "autumn rain"}, "outputs": {"poem": "Rain on the last leaves"}}
EVENT: Final[Example] = {
    "seq": 5, "at": "2026-11-23T03:50:46.300000+00:00", "type": "step.finished",
    "data": {"node": "write", "visit": 1, "duration_s": 1.174, "outputs": {"poem": "Rain on the last leaves"}},
}  # fmt: skip
TOKEN: Final[Example] = {**_STEP, "epoch": 1, "call": 1, "offset": 0, "text": "Rain"}
STEP: Final[Example] = {
    **_STEP, "kind": "step", "status": "succeeded", "seq": 5, "started_at": "2026-11-23T03:50:45.126000+00:00",
    "deadline": None, "wake_at": None, "duration_s": 1.174, "progress": None,
    "outputs": {"poem": "Rain on the last leaves"}, "error": None, "handled": None, "tries": 1,
}  # fmt: skip
CALL: Final[Example] = {
    "seq": 4, **_STEP, "provider": "openai", "model": "gpt-4o-mini", "at": "2026-11-23T03:50:46.300000+00:00",
    "duration_s": 1.17, "first_token_s": 0.31, "tokens_in": 24, "tokens_out": 19, "tokens_cached": 0,
    "cost_usd": "0.00012", "error": None, "retries": 0,
    "texts": {"messages": [{"role": "user", "content": "Write a haiku about rain."}], "reply": "Rain on the window…"},
}  # fmt: skip

_KNOWN_COSTS: Final[Example] = {
    "calls": 12, "errors": 1, "tokens_in": 4310, "tokens_out": 905, "tokens_cached": 1024, "cost_usd": "0.0011895",
    "known_tokens_in": 4310, "known_tokens_out": 905, "known_tokens_cached": 1024, "known_cost_usd": "0.0011895",
    "unknown_tokens": 0, "unknown_cost": 0,
    "duration_mean_s": 1.284, "duration_p95_s": 2.91, "first_token_p50_s": 0.337,
}  # fmt: skip
_PARTLY_KNOWN_COSTS: Final[Example] = {
    "calls": 2, "errors": 1, "tokens_in": None, "tokens_out": None, "tokens_cached": None, "cost_usd": None,
    "known_tokens_in": 180, "known_tokens_out": 42, "known_tokens_cached": 0, "known_cost_usd": "0.00042",
    "unknown_tokens": 1, "unknown_cost": 1, "duration_mean_s": 2.2, "duration_p95_s": 2.2, "first_token_p50_s": None,
}  # fmt: skip
COST_SUMS: Final[Example] = {
    "calls": 14, "errors": 2, "tokens_in": None, "tokens_out": None, "tokens_cached": None, "cost_usd": None,
    "known_tokens_in": 4490, "known_tokens_out": 947, "known_tokens_cached": 1024, "known_cost_usd": "0.0016095",
    "unknown_tokens": 1, "unknown_cost": 1, "duration_mean_s": 1.36, "duration_p95_s": 2.91, "first_token_p50_s": 0.337,
}  # fmt: skip
COST_GROUP: Final[Example] = {"group": "openai/gpt-4o-mini", **_KNOWN_COSTS}
COST_REPORT: Final[Example] = {
    "by": "model", "since": _SINCE, "until": None, "workflow": None, "run_id": None,
    "items": [COST_GROUP, {"group": "anthropic/claude-sonnet-4-5", **_PARTLY_KNOWN_COSTS}],
    "group_count": 2, "total": COST_SUMS,
}  # fmt: skip

RUN_PROFILE: Final[Example] = {
    "run_id": _ID, "workflow": "article", "status": "running", "created_at": _CREATED, "finished_at": None,
    "wall_s": 6.412,
    "spent_s": {
        "queued": 0.004, "claim": 0.006, "model": 6.29, "tool": 0.0, "code": 0.104, "commit": 0.008, "waiting": 0.0,
    },
    "at_work_s": 6.408,
    "nodes": [
        {"node": "write", "steps": 3, "retries": 1, "busy_s": 5.1, "model_s": 5.04, "share": 0.7959},
        {"node": "outline", "steps": 1, "retries": 0, "busy_s": 1.26, "model_s": 1.25, "share": 0.1966},
    ],
    "threshold": 0.5, "bottleneck": "write",
}  # fmt: skip
_WALL: Final[Example] = {"mean_s": 4.1, "p50_s": 3.9, "p95_s": 7.8, "p99_s": 9.2}
_MODEL: Final[Example] = {"mean_s": 3.6, "p50_s": 3.5, "p95_s": 7.1, "p99_s": 8.8}
_LITTLE: Final[Example] = {"mean_s": 0.05, "p50_s": 0.04, "p95_s": 0.2, "p99_s": 0.3}
_NOTHING: Final[Example] = {"mean_s": 0.0, "p50_s": 0.0, "p95_s": 0.0, "p99_s": 0.0}
PROFILE_REPORT: Final[Example] = {
    "workflow": None, "since": _SINCE, "threshold": 0.5, "runs": 200, "wall": _WALL,
    "spent": {
        "queued": _LITTLE, "claim": _LITTLE, "model": _MODEL, "tool": _NOTHING, "code": _LITTLE, "commit": _LITTLE,
        "waiting": _NOTHING,
    },
    "nodes": [
        {"workflow": "article", "node": "write", "runs": 200, "retries": 3, "busy": _MODEL, "model": _MODEL,
         "share": 0.8912, "bottleneck": True},
    ],
    "slowest": [
        {"run_id": _ID, "workflow": "article", "status": "succeeded", "created_at": _CREATED, "wall_s": 11.3,
         "bottleneck": "write"},
    ],
}  # fmt: skip

NOTIFICATION: Final[Example] = {
    "id": f"{_ID}-6-0", "run_id": _ID, "workflow": "haiku", "receiver": "4f1d2c7e90ab3856",
    "url": "https://example.com/hooks/flowyard", "state": "waiting", "run_status": "succeeded",
    "finished_at": "2026-11-23T03:50:46.302000+00:00", "next_at": "2026-11-23T03:55:46.900000+00:00", "tries": 2,
    "answers": [
        {"at": "2026-11-23T03:50:46.900000+00:00", "duration_s": 0.041, "status": 503, "failure": "it answered 503"},
    ],
}  # fmt: skip
RECEIVER: Final[Example] = {
    "id": "4f1d2c7e90ab3856", "workflow": "haiku", "url": "https://example.com/hooks/flowyard", "waiting": 1,
    "failures": 0, "tried_at": "2026-11-23T03:50:51.900000+00:00", "accepted_at": _SINCE, "failing_since": _CREATED,
    "not_before": None, "disabled_at": None, "why_disabled": None, "last_failure": "it answered 503",
}  # fmt: skip
