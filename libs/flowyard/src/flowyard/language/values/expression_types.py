"""Infers the types of expressions, to find mistakes when a document is loaded, before any model call."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from flowyard.language.problems import did_you_mean, suggest
from flowyard.language.values.conform import conform
from flowyard.language.values.expression_names import CONSTANTS, field_name, is_item, loop_name
from flowyard.language.values.expressions import Expression
from flowyard.language.values.function_types import element_of, joined, result_type
from flowyard.language.values.functions import FUNCTIONS, Function
from flowyard.language.values.references import Finding, step_type
from flowyard.language.values.types import (
    ANY,
    BOOL,
    DATE,
    DATETIME,
    FLOAT,
    INT,
    STR,
    Choice,
    DictOf,
    ListOf,
    Nullable,
    ObjectOf,
    Type,
    accepts,
    describe,
    is_text,
    without_null,
)

NULL: Final = Nullable(ANY)
_CONSTANT_TYPES: Final[Mapping[type, Type]] = {bool: BOOL, type(None): NULL, int: INT, float: FLOAT, str: STR}
_EQUALITY: Final = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)
_ORDER: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_ALLOWED: Final = "only comparisons, and/or/not, if/else, arithmetic, indexing and functions are allowed"


def check_expression(expression: Expression, types: Mapping[str, Type], loops: Collection[str]) -> list[Finding]:
    """The problems of a condition. `types`: of the fields; `loops`: the nodes that a loop starts from."""
    checker = _Checker(types, loops)
    checker.condition(expression.tree)
    return checker.findings


def expression_type(
    expression: Expression, types: Mapping[str, Type], loops: Collection[str]
) -> tuple[Type, list[Finding]]:
    """The type of an expression's value, and what is wrong with it. `types`, `loops`: see `check_expression`."""
    checker = _Checker(types, loops)
    return checker.infer(expression.tree), checker.findings


@dataclass(slots=True)
class _Checker:
    types: Mapping[str, Type]
    loops: Collection[str]
    findings: list[Finding] = field(default_factory=list)
    items: list[Type] = field(default_factory=list)
    """The types of the elements for which a part is evaluated, the innermost last."""

    def report(
        self, node: ast.expr, message: str, suggestion: str | None = None, *, code: str = "expression-type"
    ) -> Type:
        self.findings.append(Finding(code, message, node.col_offset, suggestion))
        return ANY

    def not_allowed(self, node: ast.expr, suggestion: str = _ALLOWED) -> Type:
        return self.report(node, f"'{_shown(node)}' isn't allowed here", suggestion, code="expression-not-allowed")

    def condition(self, node: ast.expr) -> None:
        kind = self.operand(node)
        if not accepts(BOOL, kind):
            shown = ast.unparse(node)
            self.report(node, f"'{shown}' is {describe(kind)}, not true or false", _as_condition(kind, shown))

    def operand(self, node: ast.expr) -> Type:
        """The type of an operand that must not be null. That a field is null is only known when a run evaluates it."""
        kind = self.infer(node)
        if kind == NULL:
            return self.report(node, f"'{_shown(node)}' is always null", "compare with null by == or !=")
        return without_null(kind)

    def infer(self, node: ast.expr) -> Type:
        if self.items and is_item(node):
            return self.items[-1]
        loop = loop_name(node)
        if loop is not None:
            return self.loop(node, loop)
        name = field_name(node)
        if name is not None:
            return self.name(node, name)
        match node:
            case ast.Constant(constant):
                kind = _CONSTANT_TYPES.get(type(constant))
                return kind if kind is not None else self.not_allowed(node)
            case ast.Name(word):
                return BOOL if CONSTANTS[word] is not None else NULL
            case ast.Attribute(inner, step):
                return self.step(node, inner, step)
            case ast.Subscript(inner, index):
                return self.subscript(node, inner, index)
            case ast.List(items) | ast.Tuple(items):
                kinds = [self.infer(item) for item in items]
                return ListOf(kinds[0] if kinds and all(k == kinds[0] for k in kinds) else ANY)
            case ast.BoolOp(_, values):
                for value in values:
                    self.condition(value)
                return BOOL
            case ast.UnaryOp(ast.Not(), operand):
                self.condition(operand)
                return BOOL
            case ast.UnaryOp(ast.USub() | ast.UAdd(), operand):
                return self.number(operand)
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.Compare(left, operators, rights):
                return self.compare(left, operators, rights)
            case ast.IfExp(condition, then, otherwise):
                self.condition(condition)
                return joined(self.infer(then), self.infer(otherwise))
            case ast.Call():
                return self.call(node)
            case ast.Set([inner]):
                return self.not_allowed(node, f"write {_shown(inner).strip('{}')}, without braces")
            case _:
                return self.not_allowed(node)

    def loop(self, node: ast.expr, loop: str) -> Type:
        if loop not in self.loops:
            hint = suggest(loop, self.loops, "loops")
            self.report(node, f"no loop starts from a node '{loop}'", hint, code="unknown-node")
        return INT

    def name(self, node: ast.expr, name: str) -> Type:
        if name == "state":
            return self.report(node, "'state' alone isn't a field", "write state.FIELD", code="unknown-field")
        if name not in self.types:
            hint = did_you_mean(name, self.types) or f"text needs quotes: '{name}'"
            return self.report(node, f"no field '{name}'", hint, code="unknown-field")
        return self.types[name]

    def step(self, node: ast.expr, inner: ast.expr, step: str | int) -> Type:
        root = _unknown_root(inner, self.types) if step in self.types else None
        if root is not None:
            return self.report(node, f"no field '{root}'", f"write {step}", code="unknown-field")
        kind = self.operand(inner)
        stepped = step_type(kind, step, node.col_offset)
        if isinstance(stepped, Finding):
            self.findings.append(stepped)
            return ANY
        return stepped

    def subscript(self, node: ast.expr, inner: ast.expr, index: ast.expr) -> Type:
        match index:
            case ast.Constant(str(step)) | ast.Constant(int(step)) if not isinstance(step, bool):
                return self.step(node, inner, step)
            case ast.UnaryOp(ast.USub(), ast.Constant(int(step))):
                return self.step(node, inner, -step)
            case ast.Slice():
                return self.report(node, "slices aren't allowed", "index one element", code="expression-not-allowed")
        kind, container = self.operand(index), self.operand(inner)
        if isinstance(container, ListOf) and accepts(INT, kind):
            return container.element
        if isinstance(container, DictOf) and accepts(STR, kind):
            return container.value
        if container == ANY or isinstance(container, ObjectOf) or kind == ANY:
            return ANY
        return self.report(node, f"a value of type {describe(container)} has no index of type {describe(kind)}")

    def number(self, node: ast.expr) -> Type:
        kind = self.operand(node)
        if not accepts(FLOAT, kind):
            return self.report(node, f"'{_shown(node)}' is {describe(kind)}, not a number")
        return kind

    def arithmetic(self, node: ast.BinOp) -> Type:
        if not isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)):
            return self.not_allowed(node, "use + - * / // %")
        left = _as_str(without_null(self.infer(node.left)))
        if isinstance(node.op, ast.Add) and (left == STR or isinstance(left, ListOf)):
            right = _as_str(self.operand(node.right))
            if accepts(left, right) or accepts(right, left):
                return left
            return self.report(node.right, f"{describe(right)} can't be added to {describe(left)}")
        kinds = (self.number(node.left), self.number(node.right))
        return INT if kinds == (INT, INT) and not isinstance(node.op, ast.Div) else ANY if ANY in kinds else FLOAT

    def compare(self, left: ast.expr, operators: list[ast.cmpop], rights: list[ast.expr]) -> Type:
        left_kind = self.infer(left)
        for operator, right in zip(operators, rights, strict=True):
            kind = self.infer(right)
            self.compare_two(left, left_kind, operator, right, kind)
            left, left_kind = right, kind
        return BOOL

    def compare_two(self, left: ast.expr, a: Type, operator: ast.cmpop, right: ast.expr, b: Type) -> None:
        operands = [] if isinstance(operator, _EQUALITY) else [(right, b)]
        if isinstance(operator, _ORDER):
            operands.append((left, a))
        for node, kind in operands:
            if kind == NULL:
                self.report(node, f"'{_shown(node)}' is always null", "compare with null by == or !=")
                return
        a, b = without_null(a), without_null(b)
        self.constants(left, operator, right, a, b)
        match operator:
            case ast.In() | ast.NotIn():
                self.membership(left, a, right, b)
            case _ if isinstance(operator, _EQUALITY):
                if not _overlap(a, b):
                    self.report(left, f"{describe(a)} and {describe(b)} are never equal", _quote_hint(right, a))
            case _:
                numbers = accepts(FLOAT, a) and accepts(FLOAT, b)
                texts = accepts(STR, a) and accepts(STR, b) and {a, b} != {DATE, DATETIME}
                if not (numbers or texts):
                    self.report(left, f"{describe(a)} and {describe(b)} have no order", _quote_hint(right, a))

    def constants(self, left: ast.expr, operator: ast.cmpop, right: ast.expr, a: Type, b: Type) -> None:
        """Reports texts that the value beside them never has: no value of the choice, or another form of a time."""
        if isinstance(operator, ast.In | ast.NotIn):
            for item in right.elts if isinstance(right, ast.List | ast.Tuple) else ():
                self.constant(item, a)
            if isinstance(b, ListOf):
                self.constant(left, without_null(b.element))
        elif not (isinstance(operator, _ORDER) and Choice in (type(a), type(b))):
            self.constant(right, a)
            self.constant(left, b)

    def constant(self, node: ast.expr, kind: Type) -> None:
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return
        if isinstance(kind, Choice) and node.value not in kind.values:
            hint = suggest(node.value, kind.values, "values")
            self.report(node, f"'{_shortened(node.value)}' isn't one of the values", hint)
        elif kind in (DATE, DATETIME):
            problems: list[str] = []
            right = conform(kind, node.value, "", problems)
            if problems:
                self.report(node, problems[0].removeprefix(": "))
            elif right != node.value:
                self.report(node, f"'{node.value}' is compared as a text", f"write '{right}'")

    def membership(self, part: ast.expr, a: Type, container: ast.expr, b: Type) -> None:
        match b:
            case ListOf(element):
                fits = _overlap(element, a)
            case DictOf() | ObjectOf():
                fits = accepts(STR, a)
            case _:
                fits = b == ANY or (is_text(b) and accepts(STR, a))
        if not fits:
            self.report(part, f"{describe(a)} can't be in {describe(b)}")

    def call(self, node: ast.Call) -> Type:
        if not isinstance(node.func, ast.Name):
            hint = _method_hint(node) or _ALLOWED
            what = "methods" if isinstance(node.func, ast.Attribute) else "values"
            return self.report(node, f"{what} can't be called", hint, code="unknown-function")
        name = node.func.id
        if name not in FUNCTIONS:
            hint = suggest(name, FUNCTIONS, "functions")
            return self.report(node, f"no function '{name}'", hint, code="unknown-function")
        function = FUNCTIONS[name]
        if not function.least <= len(node.args) <= function.most or node.keywords:
            return self.report(node, f"{name} takes {_counted(function)}")
        if name == "iterations":
            return self.report(node, "iterations takes the name of a node in quotes", "write iterations('node')")
        if name == "default":
            # What isn't there is what it is for: null is a value like any other.
            return joined(without_null(self.infer(node.args[0])), self.infer(node.args[1]))
        if function.each:
            return self.repeated(node, name)
        return self.function(node, name, [self.argument(name, i, arg) for i, arg in enumerate(node.args)])

    def argument(self, function: str, number: int, node: ast.expr) -> Type:
        is_any = (function == "contains" and number == 1) or function in ("str", "json")
        return without_null(self.infer(node)) if is_any else self.operand(node)

    def function(self, node: ast.Call, name: str, kinds: list[Type]) -> Type:
        if name == "contains":
            self.membership(node.args[1], kinds[1], node.args[0], kinds[0])
            return BOOL

        def report(number: int, fault: str) -> None:
            self.report(node.args[number], fault)

        return result_type(name, kinds, report)

    def repeated(self, node: ast.Call, name: str) -> Type:
        """A call whose second argument is evaluated for each element of the first."""
        kind = self.operand(node.args[0])
        element = element_of(kind)
        if element is None:
            return self.report(node.args[0], f"{name} takes a list, not {describe(kind)}")
        if len(node.args) == 1:
            return kind
        self.items.append(element)
        each = node.args[1]
        made: Type = BOOL
        if name == "filter":
            self.condition(each)
        else:
            made = self.infer(each)
        self.items.pop()
        if name == "sorted" and not (accepts(FLOAT, made) or is_text(made)):
            self.report(each, f"{describe(made)} has no order")
        return ListOf(made) if name == "map" else kind


def _counted(function: Function) -> str:
    if function.least == function.most:
        return f"{function.least} argument{'s' if function.least > 1 else ''}"
    return f"{function.least} to {function.most} arguments"


def _shown(node: ast.expr) -> str:
    return _shortened(ast.unparse(node))


def _overlap(a: Type, b: Type) -> bool:
    """Whether a value can have both types."""
    if isinstance(a, Choice) and isinstance(b, Choice):
        return not set(a.values).isdisjoint(b.values)
    return accepts(a, b) or accepts(b, a)


def _unknown_root(node: ast.expr, types: Mapping[str, Type]) -> str | None:
    """The name that a reference begins with, if it is no field."""
    while isinstance(node, ast.Attribute | ast.Subscript) and field_name(node) is None:
        node = node.value
    name = field_name(node)
    return name if name is not None and name != "state" and name not in types else None


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _as_str(kind: Type) -> Type:
    return STR if is_text(kind) else kind


def _as_condition(kind: Type, shown: str) -> str:
    inner = without_null(kind)
    comparison = f"{shown} != ''" if inner == STR else f"{shown} != 0" if inner in (INT, FLOAT) else f"len({shown}) > 0"
    return f"compare it: {comparison}"


def _quote_hint(right: ast.expr, left: Type) -> str | None:
    if left == STR and isinstance(right, ast.Constant):
        return f"quote it: '{ast.unparse(right)}'"
    if isinstance(right, ast.Constant) and isinstance(right.value, str) and accepts(FLOAT, left):
        return "compare with a number, without quotes"
    return None


def _method_hint(node: ast.Call) -> str | None:
    if isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS:
        args = ", ".join(ast.unparse(arg) for arg in [node.func.value, *node.args])
        return f"write {node.func.attr}({args})"
    return None
