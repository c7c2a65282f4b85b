"""Evaluates expressions, node by node of what Python's parser has made of them. Never by `eval`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias

from flowyard.errors.steps import EvaluationError
from flowyard.language.values.expression_costs import EvaluationCosts
from flowyard.language.values.expression_names import CONSTANTS, field_name, is_item, loop_name
from flowyard.language.values.functions import FUNCTIONS, UnfitArgument, ordered
from flowyard.language.values.references import take_step
from flowyard.language.values.templates import Lookup
from flowyard.language.values.types import type_of

Iterations: TypeAlias = Callable[[str], int]
"""The number of iterations that the loop at a node has made."""


def _no_loops(node: str) -> int:
    raise EvaluationError(f"there is no loop '{node}' here")


def _no_time() -> datetime:
    raise EvaluationError("now() isn't known here")


@dataclass(frozen=True, slots=True)
class ExpressionContext:
    """What expressions may ask besides values. `now`: the time that counts for them, with a time zone.

    It is asked at most once per evaluation of a step or a choice: it must be the same when that is repeated.
    """

    iterations: Iterations = _no_loops
    now: Callable[[], datetime] = _no_time


NOWHERE: Final = ExpressionContext()
_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_ORDER: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


@dataclass(slots=True)
class Evaluator:
    """Evaluates one expression. `items`: the elements for which its part is evaluated, the innermost last."""

    lookup: Lookup
    around: ExpressionContext
    text: str
    costs: EvaluationCosts = field(default_factory=EvaluationCosts)
    items: list[Any] = field(default_factory=list)

    def result(self, tree: ast.expr) -> Any:
        """The value of the whole. Raises EvaluationError."""
        try:
            return self.value(tree)
        except (EvaluationError, ArithmeticError) as error:
            where = f" in '{self.text}'"
            text = error.message if isinstance(error, EvaluationError) else str(error)
            raise EvaluationError(text if text.endswith(where) else f"{text}{where}") from error

    def value(self, node: ast.expr) -> Any:
        if self.items:
            self.costs.repeat()
            if is_item(node):
                return self.items[-1]
        loop = loop_name(node)
        if loop is not None:
            return self.around.iterations(loop)
        name = field_name(node)
        if name is not None:
            return self.lookup(name)
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(word):
                return CONSTANTS[word]
            case ast.Attribute(inner, step):
                return take_step(self.value(inner), step, partial(ast.unparse, inner))
            case ast.Subscript(inner, index):
                return take_step(self.value(inner), self._index(index), partial(ast.unparse, inner))
            case ast.List(items) | ast.Tuple(items):
                return [self.value(item) for item in items]
            case ast.BoolOp(junction, values):
                decisive = isinstance(junction, ast.Or)
                return decisive if any(self._bool(v) is decisive for v in values) else not decisive
            case ast.UnaryOp(ast.Not(), operand):
                return not self._bool(operand)
            case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, operand):
                number = self._number(self.value(operand), operand)
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left, sign, right) if type(sign) in _ARITHMETIC:
                return self._arithmetic(sign, left, right)
            case ast.Compare(left, comparisons, rights):
                return self._compare(left, comparisons, rights)
            case ast.IfExp(condition, then, otherwise):
                return self.value(then if self._bool(condition) else otherwise)
            case ast.Call(ast.Name(name), args) if _takes(name, len(args)):
                return self._call(name, args)
            case _:
                raise EvaluationError(f"'{ast.unparse(node)}' can't be evaluated")

    def _index(self, node: ast.expr) -> str | int:
        index = self.value(node)
        if isinstance(index, bool) or not isinstance(index, (str, int)):
            raise EvaluationError(f"{ast.unparse(node)} is {type_of(index)}: an index is an int or a str")
        return index

    def _bool(self, node: ast.expr) -> bool:
        value = self.value(node)
        if not isinstance(value, bool):
            raise EvaluationError(f"{ast.unparse(node)} is {type_of(value)}, not true or false")
        return value

    def _number(self, value: Any, node: ast.expr) -> int | float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise EvaluationError(f"{ast.unparse(node)} is {type_of(value)}, not a number")
        return value

    def _arithmetic(self, sign: ast.operator, left: ast.expr, right: ast.expr) -> Any:
        a, b = self.value(left), self.value(right)
        if isinstance(sign, ast.Add) and any(isinstance(a, kind) and isinstance(b, kind) for kind in (str, list)):
            self.costs.make_some(len(a) + len(b))
            self.costs.read_some(a)
            self.costs.read_some(b)
            return a + b
        return self.costs.checked_number(_ARITHMETIC[type(sign)](self._number(a, left), self._number(b, right)))

    def _compare(self, left: ast.expr, comparisons: list[ast.cmpop], rights: list[ast.expr]) -> bool:
        a = self.value(left)
        for comparison, right in zip(comparisons, rights, strict=True):
            b = self.value(right)
            if not self._compare_two(a, comparison, b, left, right):
                return False
            a, left = b, right
        return True

    def _compare_two(self, a: Any, comparison: ast.cmpop, b: Any, left: ast.expr, right: ast.expr) -> bool:
        match comparison:
            case ast.Eq() | ast.Is():
                return equal(a, b, self.costs.compare_some)
            case ast.NotEq() | ast.IsNot():
                return not equal(a, b, self.costs.compare_some)
            case ast.In():
                return self._contains(b, a, right)
            case ast.NotIn():
                return not self._contains(b, a, right)
        if not (isinstance(a, str) and isinstance(b, str)):
            self._number(a, left)
            self._number(b, right)
        return _ORDER[type(comparison)](a, b)

    def _contains(self, container: Any, part: Any, node: ast.expr) -> bool:
        if isinstance(container, str) and isinstance(part, str):
            self.costs.read_some(container)
            return part in container
        if isinstance(container, dict):
            return isinstance(part, str) and part in container
        if isinstance(container, list):
            return any(equal(part, item, self.costs.compare_some) for item in container)
        raise EvaluationError(f"{ast.unparse(node)} is {type_of(container)}: it has no elements")

    def _call(self, name: str, args: list[ast.expr]) -> Any:
        function = FUNCTIONS[name]
        if name == "default":
            return self._default(*args)
        if function.each:
            return self._repeated(name, *args)
        values = [self.value(arg) for arg in args]
        if name == "now":
            return self.around.now().astimezone(UTC).replace(microsecond=0).isoformat()
        if name == "contains":
            return self._contains(values[0], values[1], args[0])
        if function.call is None:
            raise EvaluationError(f"{name} takes the name of a node in quotes")
        try:
            return function.call(values, self.costs)
        except UnfitArgument as error:
            shown, kind = ast.unparse(args[error.number]), type_of(values[error.number])
            raise EvaluationError(f"{shown} is {kind}{error.wanted}") from error

    def _default(self, node: ast.expr, otherwise: ast.expr) -> Any:
        try:
            value = self.value(node)
        except EvaluationError:
            # A part that isn't there. Other expressions say what is wrong with them.
            if not isinstance(node, ast.Attribute | ast.Subscript | ast.Name):
                raise
            value = None
        return self.value(otherwise) if value is None else value

    def _repeated(self, name: str, of: ast.expr, each: ast.expr | None = None) -> list[Any]:
        items = self.value(of)
        if not isinstance(items, list):
            raise EvaluationError(f"{ast.unparse(of)} is {type_of(items)}, not a list")
        self.costs.read_some(items)
        if name == "filter":
            return [item for item, holds in zip(items, self._for_each(items, each, self._bool), strict=True) if holds]
        values = self._for_each(items, each, self.value)
        if name == "map":
            return values
        if name == "sorted":
            order = ordered(values, self.costs)
            return [items[place] for place in sorted(range(len(items)), key=order.__getitem__)]
        first: dict[Any, Any] = {}
        for value, item in zip(values, items, strict=True):
            first.setdefault(_identity(value, self.costs), item)
        return list(first.values())

    def _for_each(self, items: list[Any], part: ast.expr | None, evaluate: Callable[[ast.expr], Any]) -> list[Any]:
        if part is None:
            return items
        values = []
        for item in items:
            self.items.append(item)
            values.append(evaluate(part))
            self.items.pop()
        return values


def _takes(name: str, count: int) -> bool:
    function = FUNCTIONS.get(name)
    return function is not None and function.least <= count <= function.most


def _identity(value: Any, costs: EvaluationCosts) -> Any:
    """Equal for values that are equal in expressions."""
    costs.compare_some(value)
    match value:
        case bool():
            return "bool", value
        case list():
            return "list", *(_identity(item, costs) for item in value)
        case dict():
            return "object", frozenset((name, _identity(inner, costs)) for name, inner in value.items())
        case _:
            return value


def _uncounted(_value: Any) -> None:
    pass


def equal(a: Any, b: Any, count: Callable[[Any], None] = _uncounted) -> bool:
    """Equality, without Python's `True == 1`, also inside lists and mappings. `count`: called for each comparison."""
    count(a)
    if isinstance(a, (list, dict)):
        return _equal_items(a, b, count)
    return isinstance(a, bool) is isinstance(b, bool) and bool(a == b)


def _equal_items(a: list[Any] | dict[str, Any], b: Any, count: Callable[[Any], None]) -> bool:
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(equal(x, y, count) for x, y in zip(a, b, strict=True))
    return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key], count) for key in a)
