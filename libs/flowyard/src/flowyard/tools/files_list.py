"""`files.list`: what is in a shared folder, or which folders are shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.threads import in_daemon_thread
from flowyard.tools.folder_files import failing, opened_folder
from flowyard.tools.folder_walk import Bounds, entries_of
from flowyard.tools.folders import MOST_PATH, Folders, find_place
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext

MOST_LISTED: Final = 1_000

FACTS: Final = ToolFacts(
    name="files.list",
    description="Lists the files and folders in a folder, or, without a path, the folders that are shared.",
    parameters={
        "type": "object",
        "properties": {
            "path": {
                "type": "string",
                "maxLength": MOST_PATH,
                "description": "The name of a shared folder, and perhaps the path of a folder in it.",
            }
        },
        "additionalProperties": False,
    },
    effects=frozenset({"reads"}),
    guarded="path",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        return await in_daemon_thread(lambda: _list(services.folders, arguments.get("path", ""), context))

    return Tool(FACTS, run)


def _list(folders: Folders, path: str, context: ToolContext) -> dict[str, Any]:
    if folders and not path:
        shared = [
            {"path": folder.name, "kind": "folder", "is_writable": folder.is_writable}
            for folder in folders.by_name.values()
        ]
        return {"entries": shared, "is_cut": False}
    place, bounds = find_place(folders, path), Bounds()
    with opened_folder(place) as folder, failing(path):
        entries = [entry for entry in entries_of(folder, path, bounds) if context.why_denied(entry.path) is None]
    is_cut = bounds.is_cut or len(entries) > MOST_LISTED
    return {"entries": [entry.data for entry in entries[:MOST_LISTED]], "is_cut": is_cut}
