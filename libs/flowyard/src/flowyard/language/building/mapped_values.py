"""Reads values that are templates, expressions and plain values at any depth, and checks them against a type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from flowyard.errors.steps import EvaluationError
from flowyard.language.building.expressions import Scope, parse_at
from flowyard.language.building.state import check_value
from flowyard.language.nodes import SetValue
from flowyard.language.problems import KeyPath
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.evaluating import evaluated
from flowyard.language.values.expression_types import expression_type
from flowyard.language.values.expression_values import NOWHERE
from flowyard.language.values.expressions import Expression
from flowyard.language.values.foreign_placeholders import Known, foreign_placeholders
from flowyard.language.values.possible_values import constant_conditions
from flowyard.language.values.templates import Template, check_template, parse_template, template_type
from flowyard.language.values.types import Type, describe, may_hold

EXPRESSION_KEY: Final = "expr"
_UNREADABLE: Final = ()
"""The value of an expression that couldn't be read, and was reported."""
_WARNINGS_OF_A_TEXT: Final = 20


def read_template(
    document: SourceDocument, text: str, path: KeyPath, types: Mapping[str, Type], outputs: Mapping[str, Sequence[str]]
) -> Template:
    """`types`: of the names that it may use; `outputs`: the fields that each node writes. Reports its problems."""
    template = parse_template(text)
    for finding in check_template(template, types):
        document.text_problem(path, finding)
    for warning in islice(foreign_placeholders(text, Known(types, outputs)), _WARNINGS_OF_A_TEXT):
        document.text_problem(path, warning)
    return template


@dataclass(frozen=True, slots=True)
class ValueReader:
    """`scope`: what the texts may name. `outputs`: the fields that each node writes."""

    document: SourceDocument
    scope: Scope
    outputs: Mapping[str, Sequence[str]]

    def value(self, given: Any, path: KeyPath) -> SetValue:
        """Texts become templates and `{expr: …}` an expression, at any depth."""
        match given:
            case str():
                return read_template(self.document, given, path, self.scope.types, self.outputs)
            case {"expr": str(text)} if len(given) == 1:
                expression = parse_at(self.document, (*path, EXPRESSION_KEY), text)
                return _UNREADABLE if expression is None else expression
            case {"expr": None | bool() | int() | float() as plain} if len(given) == 1:
                text = "null" if plain is None else str(plain).lower()
                hint = f"quote it: '{text}'; without 'expr', it is a value"
                where = (*path, EXPRESSION_KEY)
                self.document.error("wrong-type", where, f"'expr' must be text, not {text}", hint)
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
                    self.document.text_problem((*path, EXPRESSION_KEY), finding)
                fits = self._has_type(name, kind, wanted, path) and not findings
            case Template():
                fits = self._has_type(name, template_type(value, self.scope.types), wanted, path)
        if fits:
            with suppress(KeyError, EvaluationError):
                check_value(self.document, path, wanted, _constant(value), name, code="type-mismatch")

    def _has_type(self, name: str, kind: Type, wanted: Type, path: KeyPath) -> bool:
        if may_hold(wanted, kind):
            return True
        message = f"'{name}' is {describe(wanted)} in the state, but {describe(kind)} here"
        self.document.error("type-mismatch", path, message, f"the field takes {describe(wanted)}")
        return False


def _constant(value: SetValue) -> Any:
    """The value that it always has. Raises KeyError if it depends on what it names, and EvaluationError."""
    nothing: dict[str, Any] = {}
    return evaluated(value, nothing.__getitem__, NOWHERE)
