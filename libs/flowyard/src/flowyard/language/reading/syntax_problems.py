"""Rewrites the errors of the YAML parser as problems with a hint for the author of the document."""

from __future__ import annotations

import re
from typing import Final

import yaml

from flowyard.language.problems import Position, Problem
from flowyard.language.reading.source_span import LINE_END, position_at
from flowyard.language.reading.surrogates import PAIR, combined_escape

_MAX_LINE_LENGTH: Final = 400


def syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    """The problem at the position in `text` where the mistake is, which may be before that of `error`."""
    if isinstance(error, yaml.MarkedYAMLError) and (error.problem_mark or error.context_mark):
        is_unclosed = "found unexpected end of stream" in str(error.problem)
        mark = error.context_mark if is_unclosed and error.context_mark else error.problem_mark or error.context_mark
        position = position_at(text, min(mark.index if mark else 0, len(text)))
        lines = _lines_until(text, position.line)
        return (
            _surrogate_problem(error, text, position)
            or _tab_problem(lines)
            or _bracket_problem(lines)
            or _marked_problem(error, position)
        )
    return Problem("yaml-syntax", f"this isn't valid YAML: {error}", Position(1, 1))


def _lines_until(text: str, line: int) -> list[tuple[int, str]]:
    """The line at which the parser failed, and the line before, with their numbers. One of them has the mistake."""
    lines = LINE_END.split(text)
    return [(n, lines[n - 1][:_MAX_LINE_LENGTH]) for n in (line, line - 1) if 1 <= n <= len(lines)]


def _surrogate_problem(error: yaml.MarkedYAMLError, text: str, position: Position) -> Problem | None:
    """The problem of a surrogate pair, which is valid in JSON and not in YAML."""
    if error.problem_mark is None or "Unicode character escape" not in str(error.problem):
        return None
    match = PAIR.search(text, error.problem_mark.index - 2, error.problem_mark.index + 12)
    if match is None:
        return None
    escape = combined_escape(match)
    message = f"YAML can't join the two halves of a character: {match[0]}"
    return Problem("yaml-syntax", message, position, f"write {chr(int(escape[2:], 16))} itself, or {escape}")


def _tab_problem(lines: list[tuple[int, str]]) -> Problem | None:
    for number, line in lines:
        tab = re.match(r"[ ]*(?:-[ ]*)*\t", line)
        if tab:
            return Problem("yaml-tab", "a tab can't indent YAML", Position(number, tab.end()), "indent with spaces")
    return None


def _bracket_problem(lines: list[tuple[int, str]]) -> Problem | None:
    """The problem of `{type: list[str]}`: inside braces, YAML parses the bracket as a list."""
    for number, line in lines:
        match = re.search(r"\{[^'\"]*?:\s*((?:list|dict)\[[^\]}]*\]*)", line)
        if match:
            message = "a type with brackets needs quotes between { and }"
            return Problem("yaml-syntax", message, Position(number, match.start(1) + 1), f"write '{match[1]}'")
    return None


def _marked_problem(error: yaml.MarkedYAMLError, position: Position) -> Problem:
    message = str(error.problem or error.context or "this isn't valid YAML")
    hint = None
    if "mapping values are not allowed" in message:
        message, hint = "a ':' isn't expected here", "quote text that contains ': ', or check the indentation"
    elif "did not find expected key" in message or "expected <block end>" in message:
        message, hint = "the structure ends unexpectedly here", "check the indentation, and close quotes and brackets"
    elif "cannot start any token" in message:
        message, hint = "this character can't begin a value", "quote text that begins with one of @ ` % or a tab"
    elif "found unexpected end of stream" in message:
        message, hint = "the quote that begins here isn't closed", "close it"
    elif "undefined alias" in message:
        message = message.removeprefix("match ")
    return Problem("yaml-syntax", message, position, hint)
