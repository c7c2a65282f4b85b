"""Which values of a choice the conditions of routes cover."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from flowyard.language.values.expression_names import field_name
from flowyard.language.values.expressions import Expression
from flowyard.language.values.types import Choice, Type, core


def uncovered(conditions: Iterable[Expression], types: Mapping[str, Type]) -> tuple[str, list[str]] | None:
    """The field and those of its values for which no condition holds; None unless all of them compare one choice."""
    pairs = [pair for condition in conditions for pair in _compared(condition.tree)]
    name = pairs[0][0] if pairs else None
    if name is None or name not in types:
        return None
    kind = core(types[name])
    if not isinstance(kind, Choice) or any(other != name for other, _ in pairs):
        return None
    covered = {value for _, value in pairs}
    return name, [value for value in kind.values if value not in covered]


def _compared(tree: ast.expr) -> list[tuple[str | None, object]]:
    """The field and the value of each comparison; of anything else, no field."""
    match tree:
        case ast.BoolOp(ast.Or(), parts):
            return [pair for part in parts for pair in _compared(part)]
        case ast.Compare(left, [ast.Eq() | ast.Is()], [ast.Constant(value)]):
            return [(field_name(left), value)]
        case ast.Compare(ast.Constant(value), [ast.Eq() | ast.Is()], [right]):
            return [(field_name(right), value)]
        case ast.Compare(left, [ast.In()], [ast.List(items) | ast.Tuple(items)]):
            return [(field_name(left), item.value if isinstance(item, ast.Constant) else None) for item in items]
        case _:
            return [(None, None)]
