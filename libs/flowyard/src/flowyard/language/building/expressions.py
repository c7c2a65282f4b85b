"""Reads a text as a checked Expression, and reports its problems at the character."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flowyard.language.problems import KeyPath
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.expression_types import check_expression
from flowyard.language.values.expressions import Expression, ExpressionSyntaxError, parse_expression
from flowyard.language.values.types import Type


def read_condition(
    document: SourceDocument, path: KeyPath, text: str, types: Mapping[str, Type], loops: Collection[str]
) -> Expression | None:
    """The expression, also if it doesn't fit the state; None if the text isn't an expression. Reports its problems."""
    expression = parse_at(document, path, text)
    for finding in check_expression(expression, types, loops) if expression is not None else ():
        document.text_error(path, finding)
    return expression


def parse_at(document: SourceDocument, path: KeyPath, text: str) -> Expression | None:
    """The expression; None, and a problem, if the text isn't an expression."""
    try:
        return parse_expression(text)
    except ExpressionSyntaxError as error:
        document.text_error(path, error.finding)
        return None
