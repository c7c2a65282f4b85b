"""Reads `FLOWYARD_DAILY_BUDGETS`: what workflows may spend per day, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final

from flowyard.exact_json import amount_of, json_mapping
from flowyard.language.problems import suggest
from flowyard.language.workflow import Budget

_KEYS: Final = tuple(field.name for field in fields(Budget))
_MOST: Final = {"usd": 10**9, "tokens": 10**15, "model_calls": 2**31 - 1}
_ANY_OTHER: Final = "*"
"""Names the limits of each workflow that has none of its own."""
_EXAMPLE: Final = '{"triage": {"usd": "1.50", "tokens": 100000}, "*": {"usd": 5}}'


def read_daily_budgets(text: str | Mapping[str, Budget]) -> Mapping[str, Budget]:
    """The limits by workflow; `*`: of each workflow that isn't named. The default is a mapping. Raises ValueError."""
    if not isinstance(text, str):
        return text
    given = json_mapping(text, what="workflows to limits", example=_EXAMPLE)
    return {workflow: _read_budget(workflow, limits) for workflow, limits in given.items()}


def daily_budget(budgets: Mapping[str, Budget], workflow: str) -> Budget | None:
    """The workflow's limits; None if it has none."""
    return budgets.get(workflow) or budgets.get(_ANY_OTHER)


def _read_budget(workflow: str, limits: Any) -> Budget:
    if not isinstance(limits, dict) or not limits:
        raise ValueError(f"should have a mapping for '{workflow}' with some of {', '.join(_KEYS)}")
    for key in limits:
        if key not in _KEYS:
            raise ValueError(f"has '{key}' for '{workflow}', which is no limit ({suggest(key, _KEYS, 'limits')})")
    values: dict[str, Any] = {key: _read_limit(workflow, key, value) for key, value in limits.items()}
    return Budget(**values)


def _read_limit(workflow: str, key: str, value: Any) -> Decimal | int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    limit = amount_of(value) if key == "usd" else value if is_whole else None
    if limit is None or not 0 < limit <= _MOST[key]:
        kind = "an amount" if key == "usd" else "a whole number"
        raise ValueError(f"should have {kind} above 0 for '{workflow}.{key}', not {json.dumps(value, default=str)}")
    return limit
