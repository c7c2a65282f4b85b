"""Braces that a template leaves as text, although they look like a placeholder of another template language."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from flowyard.language.values.references import Finding

# The bound keeps the time in proportion to the text's length.
_BRACES: Final = re.compile(r"(?<!\{)(?:\{\{([^{}]{1,100})\}\}(?!\})|\{([^{}]{1,100})\})")
_STATEMENT: Final = re.compile(r"%[-+]?\s*[a-z]+\b.*%", re.DOTALL)
_STEP: Final = re.compile(r"\.([^\W\d]\w*)|\.(\d{1,9})|\[([^\[\]]*)\]")
_REFERENCE: Final = re.compile(
    rf"""\s*(?:\$json\.|\#\w+\.|state\.)?     # the prefixes of n8n and Dify, and our own
    ([^\W\d]\w*)((?:{_STEP.pattern})*)\s*     # a name, and steps into its value
    (?:(\|.*)|(\(.*\))|(![rsa]|:[\d<>^+]*[.,%<>^][\d,.]*[a-zA-Z%]?))?\#?\s*""",
    re.DOTALL | re.VERBOSE,
)
_INDEX: Final = re.compile(r"-?\d{1,9}")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD: Final = re.compile(r"[^\W\d]\w*")
_SHOWN: Final = 60
_NO_STATEMENTS: Final = "a template has no statements: choose with routes at an edge, repeat with a map or a loop"


def foreign_placeholders(text: str, names: Collection[str]) -> Iterator[Finding]:
    """A warning for each, with the right spelling. `names`: those that the template may use."""
    for match in _BRACES.finditer(text):
        inner = match[1] or match[2]
        if _STATEMENT.fullmatch(inner):
            yield _finding(match, "a statement", _NO_STATEMENTS)
        elif hint := _right_spelling(inner, names, is_doubled=match[1] is not None):
            yield _finding(match, "a placeholder", hint)


def _finding(match: re.Match[str], what: str, hint: str) -> Finding:
    shown = match[0] if len(match[0]) <= _SHOWN else f"{match[0][: _SHOWN - 1]}…"
    return Finding("literal-braces", f"'{shown}' is text here, not {what}", match.start(), hint)


def _right_spelling(inner: str, names: Collection[str], *, is_doubled: bool) -> str | None:
    """The hint how to write it; None if nothing shows that a value is meant."""
    match = _REFERENCE.fullmatch(inner)
    if match is None or match[1] not in names:
        return None
    filters, call, conversion = match.groups()[-3:]
    steps = [_step(step) for step in _STEP.finditer(match[2])]
    kept = steps[:-1] if call and steps else steps
    whole = [] if None in kept else kept
    right = "{" + match[1] + "".join(step or "" for step in whole) + "}"
    for given, what in ((filters, "filters"), (call, "calls"), (conversion, "formats"), (whole != kept, "slices")):
        if given:
            return f"write {right}; a placeholder has no {what}"
    if is_doubled:
        return f"write {right}; for braces as text, {{{right}"
    return f"write {right}" if match[2] != "".join(map(str, steps)) else None


def _step(match: re.Match[str]) -> str | None:
    """The step as this language writes it; None if it has no such step."""
    name, number, index = match.groups()
    if name is not None:
        return f".{name}"
    if number is not None:
        return f"[{number}]"
    if _INDEX.fullmatch(index) or _QUOTED.fullmatch(index):
        return f"[{index}]"
    return f".{index}" if _WORD.fullmatch(index) else None
