"""`text.regex`: finds what a regular expression matches in a text, or replaces it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.regular_expressions import MOST_PATTERN, Match, Pattern
from flowyard.tools.tool import MOST_CHARACTERS, Tool, ToolContext, ToolFailed

MOST_TEXT: Final = 4_000_000
MOST_MATCHES: Final = 10_000
_MATCHES: Final = 100
_SECONDS: Final = 3.0
_REFERENCE: Final = re.compile(r"\\(?:([0-9]{1,2})|g<(\w{1,100})>|.|$)", re.DOTALL)

FACTS: Final = ToolFacts(
    name="text.regex",
    description="Finds what a regular expression matches in a text, or replaces it.",
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": MOST_TEXT},
            "pattern": {
                "type": "string",
                "minLength": 1,
                "maxLength": MOST_PATTERN,
                "description": "In the syntax of RE2, without look-around. It may begin with (?i), (?m), (?s).",
            },
            "replacement": {
                "type": "string",
                "maxLength": 10_000,
                "description": r"What replaces each match; \1 and \g<name> stand for groups, \\ for a backslash.",
            },
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_MATCHES,
                "description": f"Most matches to return, {_MATCHES} if left out, or to replace, all if left out.",
            },
        },
        "required": ["text", "pattern"],
        "additionalProperties": False,
    },
)


async def _run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
    del context
    # In a thread that nobody has to wait for. A search doesn't hold the interpreter's lock.
    return await in_daemon_thread(lambda: _apply(arguments))


def _apply(arguments: Mapping[str, Any]) -> dict[str, Any]:
    pattern, text = Pattern(arguments["pattern"]), arguments["text"]
    matches = pattern.search_all(text, monotonic() + _SECONDS)
    if (replacement := arguments.get("replacement")) is not None:
        return _replaced(text, matches, _parts(replacement, pattern), arguments.get("limit"))
    most, size, results = arguments.get("limit", _MATCHES), 0, list[dict[str, Any]]()
    for match in matches:
        if len(results) == most:
            return {"matches": results, "is_cut": True}
        size += match.total_length
        if size > MOST_CHARACTERS:
            raise ToolFailed(f"the matches have more than {MOST_CHARACTERS:,} characters: set a limit")
        results.append(_data(match, pattern))
    return {"matches": results, "is_cut": False}


def _data(match: Match, pattern: Pattern) -> dict[str, Any]:
    groups = {"groups": [match.group(i + 1) for i in range(pattern.groups)]} if pattern.groups else {}
    named = {"named": {name: match.group(i) for name, i in pattern.names.items()}} if pattern.names else {}
    return {"text": match.group(0), "start": match.start, "end": match.end, **groups, **named}


def _replaced(text: str, matches: Iterator[Match], parts: Sequence[str | int], most: int | None) -> dict[str, Any]:
    pieces, at, size, count = list[str](), 0, 0, 0
    for match in matches:
        if count == most:
            break
        size += match.start - at + sum(len(each) if isinstance(each, str) else match.length(each) for each in parts)
        # Before they are made: a group may be long, and named a thousand times.
        if size > MOST_CHARACTERS:
            raise ToolFailed(f"with its replacements, the text has more than {MOST_CHARACTERS:,} characters")
        pieces.append(text[at : match.start])
        pieces.extend(each if isinstance(each, str) else match.group(each) or "" for each in parts)
        at, count = match.end, count + 1
    return {"text": "".join([*pieces, text[at:]]), "count": count}


def _parts(replacement: str, pattern: Pattern) -> list[str | int]:
    """Texts, and numbers of groups. Raises ToolFailed."""
    parts, at = list[str | int](), 0
    for reference in _REFERENCE.finditer(replacement):
        parts += (replacement[at : reference.start()], _part(reference, pattern))
        at = reference.end()
    return [part for part in (*parts, replacement[at:]) if part != ""]


def _part(reference: re.Match[str], pattern: Pattern) -> str | int:
    if reference[0] == "\\\\":
        return "\\"
    name = reference[1] or reference[2]
    group = int(name) if name is not None and name.isdecimal() else pattern.names.get(name or "")
    if group is None or group > pattern.groups:
        what = "which stands for nothing" if name is None else "and the pattern has no such group"
        raise ToolFailed(f"the replacement has '{reference[0]}', {what}; a backslash is written as two")
    return group


TEXT_REGEX: Final = Tool(FACTS, _run)
