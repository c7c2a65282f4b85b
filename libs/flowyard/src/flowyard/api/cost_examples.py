"""Examples of costs for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Example: TypeAlias = dict[str, Any]

_KNOWN: Final[Example] = {
    "calls": 12,
    "errors": 1,
    "tokens_in": 4310,
    "tokens_out": 905,
    "tokens_cached": 1024,
    "cost_usd": "0.0011895",
    "known_tokens_in": 4310,
    "known_tokens_out": 905,
    "known_tokens_cached": 1024,
    "known_cost_usd": "0.0011895",
    "unknown_tokens": 0,
    "unknown_cost": 0,
    "duration_mean_s": 1.284,
    "duration_p95_s": 2.91,
    "first_token_p50_s": 0.337,
}
_PARTLY: Final[Example] = {
    "calls": 2,
    "errors": 1,
    "tokens_in": None,
    "tokens_out": None,
    "tokens_cached": None,
    "cost_usd": None,
    "known_tokens_in": 180,
    "known_tokens_out": 42,
    "known_tokens_cached": 0,
    "known_cost_usd": "0.00042",
    "unknown_tokens": 1,
    "unknown_cost": 1,
    "duration_mean_s": 2.2,
    "duration_p95_s": 2.2,
    "first_token_p50_s": None,
}
_TOTAL: Final[Example] = {
    "calls": 14,
    "errors": 2,
    "tokens_in": None,
    "tokens_out": None,
    "tokens_cached": None,
    "cost_usd": None,
    "known_tokens_in": 4490,
    "known_tokens_out": 947,
    "known_tokens_cached": 1024,
    "known_cost_usd": "0.0016095",
    "unknown_tokens": 1,
    "unknown_cost": 1,
    "duration_mean_s": 1.36,
    "duration_p95_s": 2.91,
    "first_token_p50_s": 0.337,
}
GROUP: Final[Example] = {"group": "openai/gpt-4o-mini", **_KNOWN}
SUMS: Final[Example] = _TOTAL
REPORT: Final[Example] = {
    "by": "model",
    "since": "2026-11-16T08:00:00+00:00",
    "until": None,
    "workflow": None,
    "run_id": None,
    "items": [GROUP, {"group": "anthropic/claude-sonnet-4-5", **_PARTLY}],
    "group_count": 2,
    "total": _TOTAL,
}
