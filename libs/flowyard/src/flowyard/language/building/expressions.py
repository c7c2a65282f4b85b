"""Reads a text as a checked Expression, and reports its problems at the character."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import DocumentShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.expression_types import check_expression
from flowyard.language.values.expressions import Expression, ExpressionSyntaxError, parse_expression
from flowyard.language.values.possible_values import Possible, constant_conditions, possible_of
from flowyard.language.values.types import ANY, Type
from flowyard.language.workflow import Field


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may name. `values`: what is known of the fields' values; `loops`: the nodes with a loop."""

    types: Mapping[str, Type]
    values: Mapping[str, Possible]
    loops: Collection[str]


def read_condition(document: SourceDocument, path: KeyPath, text: str, scope: Scope) -> Expression | None:
    """The expression, also if it doesn't fit the state; None if the text isn't an expression. Reports its problems."""
    expression = parse_at(document, path, text)
    if expression is not None:
        findings = check_expression(expression, scope.types, scope.loops)
        for finding in findings or constant_conditions(expression, scope.values):
            document.text_problem(path, finding)
    return expression


def possible_values(shape: DocumentShape, fields: Mapping[str, Field]) -> dict[str, Possible]:
    """What the values of fields can be, as far as their limits tell."""
    collected = {field_name(edge.parallel.collect_field) for edge in shape.edges or () if edge.parallel}
    # Limits hold for what is written, and not for what several writes, or the results of a map, make of it.
    is_kept = {name: f.reduce in ("replace", "max", "min") and name not in collected for name, f in fields.items()}
    return {
        name: possible_of(f.type, null="never" if f.is_input and f.type != ANY else "maybe")
        for name, f in fields.items()
        if is_kept[name]
    }


def parse_at(document: SourceDocument, path: KeyPath, text: str) -> Expression | None:
    """The expression; None, and a problem, if the text isn't an expression."""
    try:
        return parse_expression(text)
    except ExpressionSyntaxError as error:
        document.text_problem(path, error.finding)
        return None


def field_name(given: str) -> str:
    """The name of a field that may be written as `done`, `state.done` or `{state.done}`."""
    return given.strip().removeprefix("{").removesuffix("}").strip().removeprefix("state.")
