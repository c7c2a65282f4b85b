"""Evaluates what documents write as a value: templates and `{expr: …}` at any depth, and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.language.values.expression_values import ExpressionContext
from flowyard.language.values.expressions import Expression
from flowyard.language.values.templates import Lookup, Template


def evaluated(value: Any, lookup: Lookup, around: ExpressionContext) -> Any:
    """`value`: a Template, an Expression, a plain value, or a list or mapping of such. Raises EvaluationError."""
    match value:
        case Template():
            return value.value(lookup)
        case Expression():
            return value.value(lookup, around)
        case Mapping():
            return {name: evaluated(inner, lookup, around) for name, inner in value.items()}
        case list():
            return [evaluated(inner, lookup, around) for inner in value]
        case _:
            return value
