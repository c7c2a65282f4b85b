"""Reads JSON in which amounts are exact: settings that a person writes."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any


def json_mapping(text: str, *, what: str, example: str) -> dict[str, Any]:
    """The JSON object of a setting, with exact numbers: 0.1 is no binary fraction. Raises ValueError.

    `what`: what it maps to what, for the message.
    """
    try:
        given = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"should be JSON such as {example}: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"should be a mapping of {what}, such as {example}")  # noqa: TRY004  # pydantic's
    return given


def amount_of(value: Any) -> Decimal | None:
    """A number in JSON, or in a text in JSON; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return mapping


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no amount")
