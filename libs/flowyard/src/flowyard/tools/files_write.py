"""`files.write`: writes a file in a shared folder, the whole of it or nothing."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.language.values.templates import as_text
from flowyard.threads import in_daemon_thread
from flowyard.tools.folder_files import MOST_BYTES, write_file
from flowyard.tools.folders import MOST_PATH, Folders, find_place
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

MOST_TEXT: Final = 8_000_000

FACTS: Final = ToolFacts(
    name="files.write",
    description="Writes a text, or data as JSON, to a file. Folders that don't exist are made.",
    parameters={
        "type": "object",
        "properties": {
            "path": {
                "type": "string",
                "minLength": 1,
                "maxLength": MOST_PATH,
                "description": "The name of a shared folder, and the path in it, such as out/reports/today.md.",
            },
            "content": {"maxLength": MOST_TEXT, "description": "A text. What is no text is written as JSON."},
            "overwrite": {
                "type": "boolean",
                "description": "Replace a file that is there. If left out, such a call fails.",
            },
            "format": {
                "enum": ["text", "base64"],
                "description": "base64 if the content is bytes in Base64; text if left out.",
            },
        },
        "required": ["path", "content"],
        "additionalProperties": False,
    },
    effects=frozenset({"writes"}),
    guarded="path",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        del context
        return await in_daemon_thread(lambda: _write(services.folders, arguments))

    return Tool(FACTS, run)


def _write(folders: Folders, arguments: Mapping[str, Any]) -> dict[str, Any]:
    place, content = find_place(folders, arguments["path"]), _content(arguments)
    is_new = write_file(place, content, overwrite=arguments.get("overwrite", False))
    return {"path": place.path, "size": len(content), "is_new": is_new}


def _content(arguments: Mapping[str, Any]) -> bytes:
    content = arguments["content"]
    if arguments.get("format") == "base64":
        try:
            return b64decode(content, validate=True)
        except (TypeError, ValueError) as error:
            raise ToolFailed(f"the content is no Base64: {error}") from error
    try:
        return encoded_text(as_text(content))
    except RecursionError as error:
        raise ToolFailed("the content is nested too deeply") from error


def encoded_text(text: str) -> bytes:
    """Raises ToolFailed."""
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise ToolFailed("the content has half a surrogate pair, which no file can hold") from error
    if len(content) > MOST_BYTES:
        raise ToolFailed(f"the content has {len(content):,} bytes; the limit is {MOST_BYTES:,}")
    return content
