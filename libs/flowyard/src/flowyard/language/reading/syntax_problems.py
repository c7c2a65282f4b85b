"""What a YAML parser says, in words that tell the author of a document what to do."""

from __future__ import annotations

import re
from typing import Final

import yaml

from flowyard.language.problems import Position, Problem
from flowyard.language.reading.origin import LINE_END, position_at
from flowyard.language.reading.surrogates import PAIR, whole

_SHOWN_OF_A_LINE: Final = 400


def syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and (error.problem_mark or error.context_mark):
        never_closed = "found unexpected end of stream" in str(error.problem)
        mark = error.context_mark if never_closed and error.context_mark else error.problem_mark or error.context_mark
        position = position_at(text, min(mark.index if mark else 0, len(text)))
        lines = _lines_until(text, position.line)
        return (
            _surrogate_problem(error, text, position)
            or _tab_problem(lines)
            or _bracket_problem(lines)
            or _marked_problem(error, position)
        )
    return Problem("yaml-syntax", f"this is no YAML: {error}", Position(1, 1))


def _lines_until(text: str, line: int) -> list[tuple[int, str]]:
    """The line in which a parser gave up and the one before, with their numbers: one of the two is to blame."""
    lines = LINE_END.split(text)
    return [(n, lines[n - 1][:_SHOWN_OF_A_LINE]) for n in (line, line - 1) if 1 <= n <= len(lines)]


def _surrogate_problem(error: yaml.MarkedYAMLError, text: str, position: Position) -> Problem | None:
    """JSON may spell a character as two halves; YAML may not."""
    if error.problem_mark is None or "Unicode character escape" not in str(error.problem):
        return None
    found = PAIR.search(text, error.problem_mark.index - 2, error.problem_mark.index + 12)
    if found is None:
        return None
    escape = whole(found)
    message = f"YAML can't put a character together from two halves: {found[0]}"
    return Problem("yaml-syntax", message, position, f"write {chr(int(escape[2:], 16))} itself, or {escape}")


def _tab_problem(lines: list[tuple[int, str]]) -> Problem | None:
    for number, line in lines:
        tab = re.match(r"[ ]*(?:-[ ]*)*\t", line)
        if tab:
            return Problem("yaml-tab", "a tab can't indent YAML", Position(number, tab.end()), "indent with spaces")
    return None


def _bracket_problem(lines: list[tuple[int, str]]) -> Problem | None:
    """`{type: list[str]}`: between braces YAML takes the bracket for a list."""
    for number, line in lines:
        found = re.search(r"\{[^'\"]*?:\s*((?:list|dict)\[[^\]}]*\]*)", line)
        if found:
            message = "between { and } a type with brackets needs quotes"
            return Problem("yaml-syntax", message, Position(number, found.start(1) + 1), f"write '{found[1]}'")
    return None


def _marked_problem(error: yaml.MarkedYAMLError, position: Position) -> Problem:
    what = str(error.problem or error.context or "this is no YAML")
    hint = None
    if "mapping values are not allowed" in what:
        what, hint = "a ':' isn't expected here", "quote text that holds ': ', or check the indentation"
    elif "did not find expected key" in what or "expected <block end>" in what:
        what, hint = "the structure ends unexpectedly here", "check the indentation, and quotes or brackets left open"
    elif "found character that cannot start any token" in what or "cannot start any token" in what:
        what, hint = "this character can't begin a value", "quote text that begins with one of @ ` % or a tab"
    elif "found unexpected end of stream" in what:
        what, hint = "a quote is never closed", "close it"
    elif "undefined alias" in what:
        what = f"{what.removeprefix('found ')}"
    return Problem("yaml-syntax", what, position, hint)
