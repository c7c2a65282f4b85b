"""Names of tools in documents that were written for other systems, and what to use in their place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OLDER_NAMES: Final[Mapping[str, str]] = {
    "dataframe_to_csv": "csv.write",
    "file_glob": "files.glob",
    "file_read": "files.read",
    "file_write": "files.write",
    "json_transform": "json.query",
    "serper_search": "web.search",
    "sql_query": "sql.query",
    "web_scrape": "web.fetch",
    "web_search": "web.search",
}
"""Tools that do the same, by the older name."""

INSTEAD: Final[Mapping[str, str]] = {
    "env_vars": "tools don't read the environment: give the value as an input, with secret: true if it is one",
    "file_move": "no tool moves or deletes files: read it with files.read, and write it with files.write",
    "http_client": "use http.get to read from an address, and http.request to send something to one",
    "process": "use shell.run, whose programs compute and do nothing else, or a node with code",
    "shell": "no tool starts a shell: use shell.run, which takes a program and its arguments, or a node with code",
}
"""What to do without a tool that there isn't, by its older name."""
