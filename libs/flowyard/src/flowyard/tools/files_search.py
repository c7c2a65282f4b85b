"""`files.search`: the lines of files that hold a text, or that a regular expression matches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, Final, TypeAlias

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.folder_files import read_in
from flowyard.tools.folder_walk import Bounds, FolderEntry, PathPattern
from flowyard.tools.folders import MOST_PATH, Folders
from flowyard.tools.regular_expressions import MOST_PATTERN, Pattern
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

MOST_LINES: Final = 500
_LINES: Final = 100
_MOST_FILE: Final = 4 * 1024 * 1024
"""Bytes of a file that is searched."""
_MOST_READ: Final = 64 * 1024 * 1024
"""Bytes of all files together."""
_SHOWN: Final = 300

Search: TypeAlias = Callable[[str], int]
"""Where in a line it is; below 0: nowhere."""

FACTS: Final = ToolFacts(
    name="files.search",
    description="Finds the lines of text files that hold a text, or that a regular expression matches.",
    parameters={
        "type": "object",
        "properties": {
            "files": {
                "type": "string",
                "minLength": 1,
                "maxLength": MOST_PATH,
                "description": "Which files: a shared folder and a pattern of paths in it, such as docs/**/*.md.",
            },
            "text": {"type": "string", "minLength": 1, "maxLength": 1_000, "description": "The text to find."},
            "pattern": {
                "type": "string",
                "minLength": 1,
                "maxLength": MOST_PATTERN,
                "description": "In place of a text, a regular expression of RE2, such as (?i)total: \\d+.",
            },
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": MOST_LINES,
                "description": f"Most lines that are returned; {_LINES} if left out.",
            },
        },
        "required": ["files"],
        "additionalProperties": False,
    },
    effects=frozenset({"reads"}),
    guarded="files",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        return await in_daemon_thread(lambda: _search(services.folders, arguments, context))

    return Tool(FACTS, run)


def _search(folders: Folders, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
    bounds, most, lines, count = Bounds(), arguments.get("limit", _LINES), list[dict[str, Any]](), 0
    search = _searched(arguments, bounds)
    with closing(_texts(PathPattern(folders, arguments["files"]).walk(bounds), bounds, context)) as texts:
        for path, text in texts:
            count += 1
            for number, line in enumerate(text.splitlines(), 1):
                at = search(line)
                if at >= 0:
                    bounds.is_cut = bounds.is_cut or len(lines) == most
                    lines += [] if bounds.is_cut else [{"path": path, "line": number, "text": _shown(line, at)}]
                if bounds.are_passed():
                    return {"lines": lines, "files": count, "is_cut": True}
    return {"lines": lines, "files": count, "is_cut": bounds.is_cut}


def _searched(arguments: Mapping[str, Any], bounds: Bounds) -> Search:
    text, expression = arguments.get("text"), arguments.get("pattern")
    if (text is None) == (expression is None):
        raise ToolFailed("give either 'text' or 'pattern'")
    if text is not None:
        wanted: str = text
        return lambda line: line.find(wanted)
    pattern = Pattern(str(expression))
    return lambda line: next((match.start for match in pattern.search_all(line, bounds.until)), -1)


def _texts(entries: Iterator[FolderEntry], bounds: Bounds, context: ToolContext) -> Generator[tuple[str, str]]:
    """The paths and texts of files. What is no text, or too large, is left out."""
    left = _MOST_READ
    for entry in entries:
        if context.why_denied(entry.path) is not None:
            continue
        if entry.size > _MOST_FILE or left <= 0:
            bounds.is_cut = left <= 0 or bounds.is_cut
            continue
        try:
            content = read_in(entry.parent, entry.name, entry.path, most=_MOST_FILE)
            left -= len(content)
            if b"\0" not in content:
                yield entry.path, content.decode()
        except (ToolFailed, UnicodeDecodeError):
            continue


def _shown(line: str, at: int) -> str:
    """The part of the line around what was searched."""
    start = max(0, at - _SHOWN // 2) if len(line) > _SHOWN else 0
    return line[start : start + _SHOWN]
