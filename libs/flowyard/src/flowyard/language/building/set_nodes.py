"""Reads set nodes: fields from templates, expressions and plain values."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from flowyard.errors.steps import EvaluationError
from flowyard.language.building.expressions import Scope, parse_at
from flowyard.language.building.node_context import NodeContext
from flowyard.language.building.state import check_value
from flowyard.language.nodes import Output, SetNode, SetValue
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import NodeShape
from flowyard.language.values.expression_types import expression_type
from flowyard.language.values.expressions import Expression
from flowyard.language.values.possible_values import constant_conditions
from flowyard.language.values.templates import Template, template_type
from flowyard.language.values.types import Type, describe, may_hold

EXPRESSION_KEY: Final = "expr"
_UNREADABLE: Final = ()
"""The value of an expression that couldn't be read, and was reported."""


def read_set_node(context: NodeContext, shape: NodeShape, path: KeyPath) -> SetNode:
    given = shape.set_ or {}
    reader = _SetReader(context, context.scope(shape.id))
    values, outputs = {}, []
    for name, value in given.items():
        where = (*path, "set", name)
        kind = context.output_type(shape.id, name, where, is_only=len(given) == 1, key=True)
        values[name] = reader.value(value, where)
        reader.check(name, values[name], kind, where)
        declared = context.fields.get(name)
        outputs.append(Output(name, kind, declared.description if declared else None))
    return SetNode(**context.head(shape, path), outputs=tuple(outputs), values=values)


@dataclass(frozen=True, slots=True)
class _SetReader:
    context: NodeContext
    scope: Scope

    def value(self, given: Any, path: KeyPath) -> SetValue:
        """Texts become templates and `{expr: …}` an expression, at any depth."""
        match given:
            case str():
                return self.context.template(given, path, self.scope.types)
            case {"expr": str(text)} if len(given) == 1:
                expression = parse_at(self.context.document, (*path, EXPRESSION_KEY), text)
                return _UNREADABLE if expression is None else expression
            case {"expr": None | bool() | int() | float() as plain} if len(given) == 1:
                text = "null" if plain is None else str(plain).lower()
                hint = f"quote it: '{text}'; without 'expr', it is a value"
                where = (*path, EXPRESSION_KEY)
                self.context.document.error("wrong-type", where, f"'expr' must be text, not {text}", hint)
                return _UNREADABLE
            case dict():
                return {name: self.value(inner, (*path, name)) for name, inner in given.items()}
            case list():
                return [self.value(inner, (*path, i)) for i, inner in enumerate(given)]
            case _:
                return given

    def check(self, name: str, value: SetValue, wanted: Type, path: KeyPath) -> None:
        """Reports a value that the field can't have; of one that depends on the run, only its type."""
        fits = value is not _UNREADABLE
        match value:
            case Expression():
                kind, findings = expression_type(value, self.scope.types, self.scope.loops)
                for finding in findings or constant_conditions(value, self.scope.values):
                    self.context.document.text_problem((*path, EXPRESSION_KEY), finding)
                fits = self._has_type(name, kind, wanted, path) and not findings
            case Template():
                fits = self._has_type(name, template_type(value, self.scope.types), wanted, path)
        if fits:
            with suppress(KeyError, EvaluationError):
                check_value(self.context.document, path, wanted, _constant(value), name, code="type-mismatch")

    def _has_type(self, name: str, kind: Type, wanted: Type, path: KeyPath) -> bool:
        if may_hold(wanted, kind):
            return True
        message = f"'{name}' is {describe(wanted)} in the state, but {describe(kind)} here"
        self.context.document.error("type-mismatch", path, message, f"the field takes {describe(wanted)}")
        return False


def _constant(value: SetValue) -> Any:
    """The value that each run writes. Raises KeyError if it depends on the state, and EvaluationError."""
    nothing: dict[str, Any] = {}
    match value:
        case Template():
            return value.value(nothing.__getitem__)
        case Expression():
            return value.value(nothing.__getitem__, nothing.__getitem__)
        case dict():
            return {name: _constant(inner) for name, inner in value.items()}
        case list():
            return [_constant(inner) for inner in value]
        case _:
            return value
