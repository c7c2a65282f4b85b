"""Which values a part of an expression can have, to find comparisons that have the same result in each run.

What isn't known is never guessed: a comparison is only reported if no values of its two sides make a difference.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal, TypeAlias

from flowyard.language.values.expression_names import CONSTANTS, field_name, repeated_argument
from flowyard.language.values.expressions import Expression
from flowyard.language.values.references import Finding
from flowyard.language.values.types import INT, Choice, Limited, ListOf, Nullable, ObjectOf, Type

Truth: TypeAlias = bool | None
"""None: it depends on the run, or nobody knows."""
_MOST_PAIRS: Final = 10_000
_SHOWN: Final = 60
_SHOWN_VALUES: Final = 12
_CASES: Final[Mapping[str, Callable[[str], str]]] = {"lower": str.lower, "upper": str.upper}


@dataclass(frozen=True, slots=True)
class Possible:
    """`texts`: None if it may be any text. `least`, `most`: of a number, or of the length of a list.

    `null`: whether the value may be null. `case`: `lower` or `upper`, if letters of the other case can't be in it.
    """

    texts: frozenset[str] | None = None
    least: float = -math.inf
    most: float = math.inf
    is_whole: bool = False
    null: Literal["never", "maybe", "always"] = "maybe"
    case: str | None = None
    inside: Mapping[str, Possible] | None = None
    """The fields of an object, where they are known."""
    items: tuple[Possible, ...] | None = None
    """The elements of a list that is written in the expression."""


ANYTHING: Final = Possible()


def possible_of(kind: Type, *, null: Literal["never", "maybe"] = "maybe") -> Possible:
    """The values of a type. `null`: whether there may be none yet."""
    match kind:
        case Nullable(inner):
            return replace(possible_of(inner), null="maybe")
        case Limited(inner, least, most):
            inside = possible_of(inner, null=null)
            return replace(
                inside,
                least=inside.least if least is None else max(inside.least, least),
                most=inside.most if most is None else min(inside.most, most),
            )
        case Choice(values):
            return Possible(texts=frozenset(values), null=null)
        case ListOf():
            return Possible(least=0, is_whole=True, null=null)
        case ObjectOf(dict() as fields):
            return Possible(null=null, inside={name: possible_of(f.type) for name, f in fields.items()})
        case _:
            return Possible(is_whole=kind == INT, null=null)


def constant_conditions(expression: Expression, fields: Mapping[str, Possible]) -> Iterator[Finding]:
    """A warning for each comparison whose result is known."""
    for node in _outside_of_repeated(expression.tree):
        match node:
            case ast.Compare(left, operators, rights):
                for operator, right in zip(operators, rights, strict=True):
                    sides = (_possible(left, fields), _possible(right, fields))
                    pair = ast.Compare(left, [operator], [right])
                    yield from _finding(pair, _compared(operator, *sides), sides, left.col_offset)
                    left = right
            case ast.Call(ast.Name("contains" | "startswith" | "endswith" as name), [whole, part], []):
                sides = (_possible(whole, fields), _possible(part, fields))
                yield from _finding(node, _TEXT_TESTS[name](*sides), sides, node.col_offset)


def _outside_of_repeated(tree: ast.expr) -> Iterator[ast.AST]:
    """The parts that are evaluated once. Elsewhere a name may be that of an element, of which nothing is known."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        each = repeated_argument(node) if isinstance(node, ast.Call) else None
        pending.extend(child for child in ast.iter_child_nodes(node) if child is not each)


def _finding(node: ast.expr, truth: Truth, sides: tuple[Possible, Possible], offset: int) -> Iterator[Finding]:
    if truth is None:
        return
    shown = ast.unparse(node)
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
    is_about_null = "always" in (sides[0].null, sides[1].null)
    hint = "it is never null" if is_about_null else next(filter(None, map(_description, sides)), None)
    message = f"'{shown}' is {'always' if truth else 'never'} true"
    yield Finding("constant-condition", message, offset, hint, severity="warning")


def _description(side: Possible) -> str | None:
    """What the values of one side can be; None for a single value, and for a side of which nothing is known."""
    if side.texts is not None and len(side.texts) > 1:
        values = sorted(side.texts)
        return f"values: {', '.join(values[:_SHOWN_VALUES])}{', …' if len(values) > _SHOWN_VALUES else ''}"
    if side.case is not None:
        return f"a text from {side.case}(…) has no letters of the other case"
    bounds = [(side.least, "at least")] if side.least > -math.inf else []
    bounds += [(side.most, "at most")] if side.most < math.inf else []
    if side.least != side.most and bounds:
        return "it is " + " and ".join(f"{word} {n}" for n, word in bounds)
    return None


def _possible(node: ast.expr, fields: Mapping[str, Possible]) -> Possible:
    name = field_name(node)
    if name is not None:
        return fields.get(name, ANYTHING)
    match node:
        case ast.Constant(str(text)):
            return Possible(texts=frozenset({text}), null="never")
        case ast.Constant(None):
            return Possible(null="always")
        case ast.Constant(int() | float() as number) if not isinstance(number, bool):
            return Possible(least=number, most=number, is_whole=isinstance(number, int), null="never")
        case ast.Name(word) if word in CONSTANTS:
            return Possible(null="always" if CONSTANTS[word] is None else "never")
        case ast.List(items) | ast.Tuple(items):
            return Possible(null="never", items=tuple(_possible(item, fields) for item in items))
        case ast.Attribute(inner, step) | ast.Subscript(inner, ast.Constant(str(step))):
            return (_possible(inner, fields).inside or {}).get(step, ANYTHING)
        case ast.Call(ast.Name("lower" | "upper" as case), [text], []):
            inner_texts = _possible(text, fields).texts
            change = _CASES[case]
            texts = None if inner_texts is None else frozenset(map(change, inner_texts))
            return Possible(texts=texts, null="never", case=case)
        case ast.Call(ast.Name("len"), [whole], []):
            return _length(_possible(whole, fields))
        case _:
            return ANYTHING


def _length(of: Possible) -> Possible:
    if of.texts is not None:
        lengths = [len(text) for text in of.texts]
        return Possible(least=min(lengths), most=max(lengths), is_whole=True, null="never")
    return Possible(least=max(0, of.least) if of.is_whole else 0, most=of.most, is_whole=True, null="never")


def _compared(operator: ast.cmpop, a: Possible, b: Possible) -> Truth:
    match operator:
        case ast.Eq() | ast.Is():
            return _equal(a, b)
        case ast.NotEq() | ast.IsNot():
            return _not(_equal(a, b))
        case ast.In():
            return _part_of(b, a)
        case ast.NotIn():
            return _not(_part_of(b, a))
        case ast.Lt():
            return _less(a, b)
        case ast.GtE():
            return _not(_less(a, b))
        case ast.Gt():
            return _less(b, a)
        case _:
            return _not(_less(b, a))


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _equal(a: Possible, b: Possible) -> Truth:
    if "always" in (a.null, b.null):
        other = b.null if a.null == "always" else a.null
        return {"always": True, "never": False, "maybe": None}[other]
    if a.null == b.null == "maybe":
        return None
    truth = _equal_values(a, b)
    return None if truth and "maybe" in (a.null, b.null) else truth


def _equal_values(a: Possible, b: Possible) -> Truth:
    """Whether they are equal if none of them is null."""
    if a.texts is not None and b.texts is not None:
        return _all_same(a.texts, b.texts, str.__eq__)
    if _has_other_case(a, b) or _has_other_case(b, a):
        return False
    if a.most < b.least or b.most < a.least or _is_fraction(a, other=b) or _is_fraction(b, other=a):
        return False
    return True if a.least == a.most == b.least == b.most else None


def _is_fraction(a: Possible, *, other: Possible) -> bool:
    return other.is_whole and a.least == a.most and a.least % 1 != 0


def _less(a: Possible, b: Possible) -> Truth:
    if "always" in (a.null, b.null):
        return None
    if a.texts is not None and b.texts is not None:
        return _all_same(a.texts, b.texts, str.__lt__)
    return True if a.most < b.least else False if a.least >= b.most else None


def _part_of(whole: Possible, part: Possible) -> Truth:
    if whole.items is not None:
        truths = [_equal(part, item) for item in whole.items]
        return True if True in truths else None if None in truths else False
    return _text_test(whole, part, str.__contains__)


def _text_test(whole: Possible, part: Possible, test: Callable[[str, str], bool]) -> Truth:
    if whole.texts is not None and part.texts is not None:
        return _all_same(whole.texts, part.texts, test)
    return False if _has_other_case(whole, part) else None


def _has_other_case(whole: Possible, part: Possible) -> bool:
    """Whether each text of `part` has a letter that isn't in a text of `whole`."""
    if whole.case is None or part.texts is None:
        return False
    change = _CASES[whole.case]
    return all(change(text) != text for text in part.texts)


def _all_same(a: frozenset[str], b: frozenset[str], test: Callable[[str, str], bool]) -> Truth:
    """The result of the test, if it is the same for all pairs."""
    if len(a) * len(b) > _MOST_PAIRS:
        return None
    results = {test(x, y) for x, y in product(a, b)}
    return results.pop() if len(results) == 1 else None


_TEXT_TESTS: Final[Mapping[str, Callable[[Possible, Possible], Truth]]] = {
    "contains": _part_of,
    "startswith": lambda whole, part: _text_test(whole, part, str.startswith),
    "endswith": lambda whole, part: _text_test(whole, part, str.endswith),
}
