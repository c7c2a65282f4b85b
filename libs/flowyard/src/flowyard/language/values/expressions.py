"""Expressions such as `score > 0.8 and category in ['a', 'b']`: a small part of Python's syntax.

Python's own parser parses them; when a document is loaded, they are checked against a list of allowed elements and
the types of the fields. They are evaluated here, node by node, never by `eval`.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from flowyard.errors.steps import EvaluationError
from flowyard.language.values.references import Finding, take_step
from flowyard.language.values.templates import Lookup
from flowyard.language.values.types import type_of

Iterations: TypeAlias = Callable[[str], int]
"""The number of iterations that the loop at a node has made."""

MAX_LENGTH: Final = 2_000
MAX_NODES: Final = 300
MAX_DEPTH: Final = 30
_MAX_INT_BITS: Final = 10_000
MAX_MADE: Final = 8_000_000
"""Characters of a text, or items of a list, that an expression makes."""
MAX_READ: Final = 25_000_000
"""Characters that an evaluation searches, compares, joins or changes; an item of a list counts as ten."""
MAX_COMPARED: Final = 100_000
"""Values that an evaluation compares: items of lists count one by one."""
LOOP_PREFIX: Final = "_loop_iteration_"
FUNCTIONS: Final[Mapping[str, int]] = {
    "len": 1, "lower": 1, "upper": 1, "contains": 2, "startswith": 2, "endswith": 2, "iterations": 1,
}  # fmt: skip
"""The functions, and their numbers of arguments."""
CONSTANTS: Final = {"true": True, "false": False, "null": None, "none": None}

_BRACED: Final = re.compile(
    r"""(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|\{(?P<inner>\s*[^\W\d]\w*(?:\.\w+|\[[^\[\]{}]*\])*\s*)\}"""
)
_COMMON_MISTAKES: Final = {
    "&&": "use 'and'", "||": "use 'or'", "===": "use '=='", "=>": "use '>='", "=<": "use '<='", "<>": "use '!='",
    "!": "use 'not'", "=": "use '==' to compare",
    "$": "write the name of the field alone",
}  # fmt: skip
_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_ORDER: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_TEXT_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "lower": str.lower, "upper": str.upper, "startswith": str.startswith, "endswith": str.endswith,
}  # fmt: skip


class ExpressionSyntaxError(ValueError):
    """A text isn't a valid expression."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression. Expressions are equal if their texts are."""

    text: str
    tree: ast.expr = field(compare=False, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """The fields that it reads."""
        return frozenset(name for name, _ in field_references(self.tree))

    def references(self) -> Iterator[tuple[str, int]]:
        """Each field that is read, and the character of the text at which its name begins."""
        return ((name, node.col_offset) for name, node in field_references(self.tree))

    def value(self, lookup: Lookup, iterations: Iterations) -> Any:
        """The value, of a type that JSON has. Raises EvaluationError."""
        return _Evaluator(lookup, iterations, self.text).value(self.tree)

    def holds(self, lookup: Lookup, iterations: Iterations) -> bool:
        """Whether the condition is true. Raises EvaluationError, also if the value isn't a bool."""
        value = self.value(lookup, iterations)
        if not isinstance(value, bool):
            raise EvaluationError(f"'{self.text}' is {type_of(value)}, not true or false")
        return value


def parse_expression(text: str) -> Expression:
    """Parses an expression; `check_expression` checks its names and types. Raises ExpressionSyntaxError."""
    if len(text) > MAX_LENGTH:
        raise _error(f"an expression has at most {MAX_LENGTH:,} characters", 0)
    if "\x00" in text:
        raise _error("an expression can't contain a null character", text.index("\x00"), "remove it")
    unbraced = _BRACED.sub(lambda match: match[0] if match["quoted"] else f" {match['inner']} ", text)
    line = re.sub(r"[\r\n\t\f\v]", " ", unbraced)
    leading = len(line) - len(line.lstrip())
    if not line.strip():
        raise _error("the expression is empty", 0, "write an expression, such as: score > 0.8")
    comment = _without_strings(line).find("#")
    if comment >= 0:
        raise _error("'#' isn't part of an expression", comment, "write comments outside of it")
    tree = _parse(line, leading)
    _check_complexity(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            # The parser's offset is in bytes: ours, in characters of the original text.
            node.col_offset = len(line[leading:].encode()[: node.col_offset].decode(errors="ignore")) + leading
    return Expression(text, tree)


def _error(message: str, offset: int, suggestion: str | None = None) -> ExpressionSyntaxError:
    return ExpressionSyntaxError(Finding("expression-syntax", message, offset, suggestion))


def _parse(line: str, leading: int) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(line[leading:], mode="eval").body
    except SyntaxError as error:
        if not error.offset:
            raise _error("the expression ends too early", max(len(line.rstrip()) - 1, 0), "complete it") from error
        raise _syntax_error(line, min(error.offset - 1 + leading, len(line.rstrip()) - 1)) from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise _error("this isn't a valid expression", leading) from error


def _syntax_error(line: str, offset: int) -> ExpressionSyntaxError:
    bare = _without_strings(line)
    for mistake, hint in _COMMON_MISTAKES.items():
        at = bare.find(mistake) if mistake != "=" else _single_equals(bare)
        if at >= 0 and not (mistake == "!" and bare[at + 1 : at + 2] == "="):
            return _error(f"'{mistake}' isn't part of an expression", at, hint)
    word = re.search(r"\b(AND|OR|NOT|IN)\b", bare)
    if word:
        return _error(f"'{word[0]}' isn't part of an expression", word.start(), f"use '{word[0].lower()}'")
    hint = "examples: score > 0.8, category in ['a', 'b'], len(items) == 0"
    return _error("this isn't a valid expression", offset, hint)


def _without_strings(line: str) -> str:
    return re.sub(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", lambda m: " " * len(m[0]), line)


def _single_equals(bare: str) -> int:
    match = re.search(r"(?<![=!<>])=(?!=)", bare)
    return match.start() if match else -1


def _check_complexity(tree: ast.expr) -> None:
    """Refuses a tree that is too deep or too large to evaluate. Without recursion, which the depth could exceed."""
    level: list[ast.AST] = [tree]
    count = depth = 0
    while level:
        count += len(level)
        depth += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise _error("the expression is too complex", 0, "split it over several routes, or have a node decide")
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, (ast.expr_context, ast.operator, ast.cmpop, ast.unaryop, ast.boolop))
        ]


def field_references(tree: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Each field that is read, as `x` or `state.x`, with the node of the tree that reads it."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        name = field_name(node)
        if name is not None:
            yield name, node  # type: ignore[misc]  # a node with a field's name is an expression
        elif isinstance(node, ast.Call):
            pending.extend(node.args)
        else:
            pending.extend(ast.iter_child_nodes(node))


def field_name(node: ast.AST) -> str | None:
    """The field that this node of the tree reads, or None."""
    match node:
        case ast.Attribute(ast.Name("state"), attr):
            return None if attr.startswith(LOOP_PREFIX) else attr
        case ast.Name(name) if name not in CONSTANTS and not name.startswith(LOOP_PREFIX):
            return name
        case _:
            return None


def loop_name(node: ast.AST) -> str | None:
    """The workflow node in `_loop_iteration_node` or `iterations('node')`, or None."""
    match node:
        case ast.Attribute(ast.Name("state"), name) | ast.Name(name) if name.startswith(LOOP_PREFIX):
            return name.removeprefix(LOOP_PREFIX)
        case ast.Call(ast.Name("iterations"), [ast.Constant(str(name))], []):
            return name
        case _:
            return None


@dataclass(slots=True)
class _Evaluator:
    """Evaluates one expression. `read` and `compared`: what that has cost so far, which is bounded."""

    lookup: Lookup
    iterations: Iterations
    text: str
    read: int = 0
    compared: int = 0

    def value(self, node: ast.expr) -> Any:
        loop = loop_name(node)
        if loop is not None:
            return self.iterations(loop)
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
            case ast.UnaryOp(sign, operand):
                number = self._number(self.value(operand), operand)
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left, sign, right):
                return self._arithmetic(sign, left, right)
            case ast.Compare(left, comparisons, rights):
                return self._compare(left, comparisons, rights)
            case ast.Call(ast.Name(function), args) if len(args) == FUNCTIONS.get(function):
                return self._call(function, args)
            case _:
                raise EvaluationError(f"'{self.text}' can't be evaluated")

    def _index(self, node: ast.expr) -> str | int:
        index = self.value(node)
        if isinstance(index, bool) or not isinstance(index, (str, int)):
            raise EvaluationError(f"{ast.unparse(node)} is {type_of(index)}: an index is an int or a str")
        return index

    def _bool(self, node: ast.expr) -> bool:
        value = self.value(node)
        if not isinstance(value, bool):
            raise EvaluationError(f"{ast.unparse(node)} is {type_of(value)}, not true or false, in '{self.text}'")
        return value

    def _number(self, value: Any, node: ast.expr) -> int | float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise EvaluationError(f"{ast.unparse(node)} is {type_of(value)}, not a number, in '{self.text}'")
        return value

    def _arithmetic(self, sign: ast.operator, left: ast.expr, right: ast.expr) -> Any:
        a, b = self.value(left), self.value(right)
        if isinstance(sign, ast.Add) and any(isinstance(a, kind) and isinstance(b, kind) for kind in (str, list)):
            if len(a) + len(b) > MAX_MADE:
                raise EvaluationError(f"a value has more than {MAX_MADE:,} parts in '{self.text}'")
            self._count_read(a)
            self._count_read(b)
            return a + b
        try:
            result = _ARITHMETIC[type(sign)](self._number(a, left), self._number(b, right))
        except ArithmeticError as error:
            raise EvaluationError(f"{error} in '{self.text}'") from error
        if isinstance(result, int) and result.bit_length() > _MAX_INT_BITS:
            raise EvaluationError(f"a number is too large in '{self.text}'")
        return result

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
                return equal(a, b, self._count_compared)
            case ast.NotEq() | ast.IsNot():
                return not equal(a, b, self._count_compared)
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
            self._count_read(container)
            return part in container
        if isinstance(container, dict):
            return isinstance(part, str) and part in container
        if isinstance(container, list):
            return any(equal(part, item, self._count_compared) for item in container)
        raise EvaluationError(f"{ast.unparse(node)} is {type_of(container)}: it has no elements, in '{self.text}'")

    def _call(self, function: str, args: list[ast.expr]) -> Any:
        values = [self.value(arg) for arg in args]
        if function == "contains":
            return self._contains(values[0], values[1], args[0])
        if function == "len":
            if isinstance(values[0], (str, list, dict)):
                return len(values[0])
            raise EvaluationError(f"{ast.unparse(args[0])} is {type_of(values[0])}: it has no length, in '{self.text}'")
        for value, arg in zip(values, args, strict=True):
            if not isinstance(value, str):
                raise EvaluationError(f"{ast.unparse(arg)} is {type_of(value)}, not text, in '{self.text}'")
            self._count_read(value)
        return _TEXT_FUNCTIONS[function](*values)

    def _count_compared(self, value: Any) -> None:
        self.compared += 1
        if self.compared > MAX_COMPARED:
            raise EvaluationError(f"more than {MAX_COMPARED:,} values are compared in '{self.text}'")
        if isinstance(value, str):
            self._count_read(value)

    def _count_read(self, value: str | list[Any]) -> None:
        # An item of a list takes the time of ten characters.
        self.read += len(value) if isinstance(value, str) else 10 * len(value)
        if self.read > MAX_READ:
            raise EvaluationError(f"more than {MAX_READ:,} characters are read in '{self.text}'")


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
