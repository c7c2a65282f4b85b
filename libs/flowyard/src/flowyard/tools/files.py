"""The tools of files in shared folders: each is in a file of its own."""

from __future__ import annotations

from flowyard.tools import files_glob, files_list, files_read, files_search, files_write
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool


def file_tools(services: ToolServices) -> tuple[Tool, ...]:
    return tuple(each.tool(services) for each in (files_glob, files_list, files_read, files_search, files_write))
