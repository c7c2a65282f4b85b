"""Expressions such as `score > 0.8 and category in ['a', 'b']`: a small part of Python's syntax.

Python's own parser parses them; when a document is loaded, they are checked against a list of allowed elements and
the types of the fields. `expression_values` evaluates them, node by node, never by `eval`.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from flowyard.errors.steps import EvaluationError
from flowyard.language.values.expression_names import field_references
from flowyard.language.values.expression_values import Evaluator, ExpressionContext
from flowyard.language.values.references import Finding
from flowyard.language.values.templates import Lookup
from flowyard.language.values.types import type_of

MAX_LENGTH: Final = 2_000
MAX_NODES: Final = 300
MAX_DEPTH: Final = 30

_BRACED: Final = re.compile(
    r"""(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|\{(?P<inner>\s*[^\W\d]\w*(?:\.\w+|\[[^\[\]{}]*\])*\s*)\}"""
)
_COMMON_MISTAKES: Final = {
    "&&": "use 'and'", "||": "use 'or'", "===": "use '=='", "=>": "use '>='", "=<": "use '<='", "<>": "use '!='",
    "!": "use 'not'", "=": "use '==' to compare",
    "$": "write the name of the field alone",
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

    def value(self, lookup: Lookup, around: ExpressionContext) -> Any:
        """The value, of a type that JSON has. Raises EvaluationError."""
        return Evaluator(lookup, around, self.text).result(self.tree)

    def holds(self, lookup: Lookup, around: ExpressionContext) -> bool:
        """Whether the condition is true. Raises EvaluationError, also if the value isn't a bool."""
        value = self.value(lookup, around)
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
