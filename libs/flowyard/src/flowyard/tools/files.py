"""The tools of files in shared folders, and of CSV, which may be in files: each is in a file of its own."""

from __future__ import annotations

from typing import Final

from flowyard.tools import csv_read, csv_write, files_glob, files_list, files_read, files_search, files_write
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool

_MODULES: Final = (csv_read, csv_write, files_glob, files_list, files_read, files_search, files_write)


def file_tools(services: ToolServices) -> tuple[Tool, ...]:
    return tuple(each.tool(services) for each in _MODULES)
