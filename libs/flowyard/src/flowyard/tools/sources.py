"""Where tools come from that aren't built in: an operator's own, those of an API, those of another server."""

from __future__ import annotations

from collections.abc import Iterable

from flowyard.tools.tool import Tool


class ToolSource:
    """The tools of one origin, which may become others while the process runs.

    `name`: of the origin, such as `own` or `mcp:github`; what is announced of it is replaced as a whole.
    """

    def __init__(self, name: str, tools: Iterable[Tool] = ()) -> None:
        self.name = name
        self._tools = tuple(tools)
        self._version = 0

    @property
    def tools(self) -> tuple[Tool, ...]:
        return self._tools

    @property
    def version(self) -> int:
        """Another number after each change."""
        return self._version

    def replace(self, tools: Iterable[Tool]) -> None:
        """From now on, it has these. To be called in the thread of the event loop."""
        self._tools = tuple(tools)
        self._version += 1
