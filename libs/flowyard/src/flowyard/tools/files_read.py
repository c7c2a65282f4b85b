"""`files.read`: the text of a file in a shared folder, or some of its lines."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.folder_files import read_file
from flowyard.tools.folders import MOST_PATH, Folders, find_place
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import MOST_CHARACTERS, Tool, ToolContext, ToolFailed

FACTS: Final = ToolFacts(
    name="files.read",
    description="Reads a text file, or some lines of it.",
    parameters={
        "type": "object",
        "properties": {
            "path": {
                "type": "string",
                "minLength": 1,
                "maxLength": MOST_PATH,
                "description": "The name of a shared folder, and the path in it, such as docs/notes/today.md.",
            },
            "start": {"type": "integer", "minimum": 1, "description": "The first line to read; 1 if left out."},
            "lines": {"type": "integer", "minimum": 1, "description": "Most lines to read; all if left out."},
            "format": {
                "enum": ["text", "base64"],
                "description": "base64 for a file that is no text, without start and lines; text if left out.",
            },
        },
        "required": ["path"],
        "additionalProperties": False,
    },
    effects=frozenset({"reads"}),
    guarded="path",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> str:
        del context
        # In a thread that nobody has to wait for: a disk may hang.
        return await in_daemon_thread(lambda: _read(services.folders, arguments))

    return Tool(FACTS, run)


def _read(folders: Folders, arguments: Mapping[str, Any]) -> str:
    place = find_place(folders, arguments["path"])
    start, lines = arguments.get("start", 1), arguments.get("lines")
    is_part = start > 1 or lines is not None
    is_binary = arguments.get("format") == "base64"
    if is_binary and is_part:
        raise ToolFailed("with base64, there can be no 'start' and no 'lines'")
    content = read_file(place)
    text = b64encode(content).decode() if is_binary else as_text(content, place.path)
    if is_part:
        end = None if lines is None else start - 1 + lines
        text = "".join(islice(text.splitlines(keepends=True), start - 1, end))
    if len(text) > MOST_CHARACTERS:
        hint = "" if is_binary else ": read some lines of it, with 'start' and 'lines'"
        raise ToolFailed(f"'{place.path}' has {len(text):,} characters; the limit is {MOST_CHARACTERS:,}{hint}")
    return text


def as_text(content: bytes, path: str, encoding: str = "utf-8") -> str:
    """Raises ToolFailed. A mark of the byte order at the beginning is left out."""
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ToolFailed(f"'{path}' is no text in {encoding.upper()}") from error
