"""An expression's text → a checked Expression, with its problems reported at the character."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flowyard.language.reading.places import Path, Places
from flowyard.language.values.expression_types import check_expression
from flowyard.language.values.expressions import Expression, ExpressionSyntaxError, parse_expression
from flowyard.language.values.types import Type


def read_condition(
    places: Places, path: Path, text: str, types: Mapping[str, Type], loops: Collection[str]
) -> Expression | None:
    """None where the text is no expression; one that doesn't fit the state is reported and returned all the same."""
    expression = parse_at(places, path, text)
    for finding in check_expression(expression, types, loops) if expression is not None else ():
        places.inside(path, finding)
    return expression


def parse_at(places: Places, path: Path, text: str) -> Expression | None:
    """None where the text is no expression, which is reported."""
    try:
        return parse_expression(text)
    except ExpressionSyntaxError as error:
        places.inside(path, error.finding)
        return None
