"""`files.glob`: the files whose paths match a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.folder_walk import Bounds, PathPattern
from flowyard.tools.folders import MOST_PATH, Folders
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext

MOST_FILES: Final = 1_000

FACTS: Final = ToolFacts(
    name="files.glob",
    description="Finds the files whose paths match a pattern.",
    parameters={
        "type": "object",
        "properties": {
            "pattern": {
                "type": "string",
                "minLength": 1,
                "maxLength": MOST_PATH,
                "description": "The name of a shared folder, and a pattern of paths in it, such as docs/**/*.md: "
                "* is any part of a name, ** any number of folders.",
            }
        },
        "required": ["pattern"],
        "additionalProperties": False,
    },
    effects=frozenset({"reads"}),
    guarded="pattern",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        return await in_daemon_thread(lambda: _glob(services.folders, arguments["pattern"], context))

    return Tool(FACTS, run)


def _glob(folders: Folders, pattern: str, context: ToolContext) -> dict[str, Any]:
    bounds, files = Bounds(), list[dict[str, Any]]()
    for entry in PathPattern(folders, pattern).walk(bounds):
        if context.why_denied(entry.path) is not None:
            continue
        if len(files) == MOST_FILES:
            return {"files": files, "is_cut": True}
        files.append(entry.data)
    return {"files": files, "is_cut": bounds.is_cut}
