"""`math.eval`: computes an arithmetic expression, exactly where whole numbers allow it. Bounded; never Python's `eval`.

The parser is that of the expressions of documents. Evaluated is more than there: powers, and the usual functions.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from flowyard.language.problems import suggest
from flowyard.language.tools import ToolFacts
from flowyard.language.values.expressions import MAX_LENGTH, ExpressionSyntaxError, parse_expression
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

Number: TypeAlias = int | float

_MOST_BITS: Final = 4_096
"""Of a whole number. It has about 1,200 digits."""
_MOST_ARGUMENTS: Final = 100
_MOST_NAMES: Final = 50
_CONSTANTS: Final[Mapping[str, float]] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: Final[Mapping[str, tuple[Callable[..., Any], int, int]]] = {
    **{
        name: (getattr(math, name), 1, 1)
        for name in ("sqrt", "exp", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "radians", "degrees")
    },
    "abs": (abs, 1, 1), "floor": (math.floor, 1, 1), "ceil": (math.ceil, 1, 1), "trunc": (math.trunc, 1, 1),
    "log": (math.log, 1, 2), "atan2": (math.atan2, 2, 2), "hypot": (math.hypot, 2, 2), "round": (round, 1, 2),
    "gcd": (math.gcd, 2, 2), "min": (min, 1, _MOST_ARGUMENTS), "max": (max, 1, _MOST_ARGUMENTS),
    "sum": (lambda *numbers: sum(numbers), 1, _MOST_ARGUMENTS),
}  # fmt: skip
"""The functions, and how many arguments each takes, at least and at most."""
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip

FACTS: Final = ToolFacts(
    name="math.eval",
    description=(
        "Computes an arithmetic expression: + - * / // % ** and parentheses, comparisons, the constants pi, e, tau, "
        f"and the functions {', '.join(sorted(_FUNCTIONS))}. Whole numbers are exact."
    ),
    parameters={
        "type": "object",
        "properties": {
            "expression": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_LENGTH,
                "description": "Such as (1 + rate) ** 10 * 2500.",
            },
            "variables": {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "maxProperties": _MOST_NAMES,
                "description": "Numbers for the names in the expression.",
            },
        },
        "required": ["expression"],
        "additionalProperties": False,
    },
)


async def _run(arguments: Mapping[str, Any], context: ToolContext) -> Number | bool:
    del context
    return evaluate(arguments["expression"], arguments.get("variables") or {})


def evaluate(text: str, variables: Mapping[str, Number]) -> Number | bool:
    """The value of an expression. Raises ToolFailed."""
    try:
        return _result(_value(parse_expression(text).tree, {**_CONSTANTS, **variables}))
    except ExpressionSyntaxError as error:
        hint = f" ({error.finding.suggestion})" if error.finding.suggestion else ""
        raise ToolFailed(f"{error}{hint}, at character {error.finding.offset + 1}") from error
    except ZeroDivisionError as error:
        raise ToolFailed("a division by zero") from error
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ToolFailed(f"it has no value: {error}") from error


def _result(value: Any) -> Number | bool:
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolFailed("the result is no finite number")
    if not isinstance(value, int | float):
        raise ToolFailed("the result is no number")
    return value


def _value(node: ast.expr, names: Mapping[str, Number]) -> Any:
    match node:
        case ast.Constant(int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(name):
            if name not in names:
                raise ToolFailed(f"no value for '{name}' ({suggest(name, names, 'names')})")
            return _bounded(names[name])
        case ast.UnaryOp(ast.UAdd(), operand):
            return +_value(operand, names)
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, names)
        case ast.BinOp(left, sign, right) if type(sign) in _OPERATORS:
            return _computed(sign, _value(left, names), _value(right, names))
        case ast.Compare(left, [sign], [right]) if type(sign) in _COMPARISONS:
            return _COMPARISONS[type(sign)](_value(left, names), _value(right, names))
        case ast.Call(ast.Name(name), arguments, []):
            return _called(name, [_value(argument, names) for argument in arguments])
        case _:
            raise ToolFailed(f"'{ast.unparse(node)[:100]}' isn't arithmetic")


def _computed(sign: ast.operator, left: Number, right: Number) -> Any:
    if isinstance(sign, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        # Before it is computed: it would take very long.
        if right > 0 and (abs(left).bit_length() or 1) * right > _MOST_BITS and abs(left) > 1:
            raise ToolFailed("the result of ** has too many digits")
        if right < 0:
            left = float(left)
    value = _OPERATORS[type(sign)](left, right)
    if isinstance(value, complex):
        raise ToolFailed("the root of a negative number is no real number")
    return _bounded(value)


def _called(name: str, arguments: list[Any]) -> Any:
    if name not in _FUNCTIONS:
        raise ToolFailed(f"no function '{name}' ({suggest(name, _FUNCTIONS, 'functions')})")
    function, least, most = _FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ToolFailed(f"'{name}' takes {wanted} arguments, not {len(arguments)}")
    return _bounded(function(*arguments))


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ToolFailed("a number has too many digits")
    return value


MATH_EVAL: Final = Tool(FACTS, _run)
