"""Where tools come from that aren't built in: an operator's own, those of an API, those of another server."""

from __future__ import annotations

from collections.abc import Iterable

from flowyard.tools.tool import Tool


class ToolSource:
    """The tools of one origin, which may become others while the process runs.

    `name`: of the origin, such as `own` or `mcp:github`; what is announced of it is replaced as a whole. `prefix`: with
    which, and a dot, the names of its tools begin, and of no others; None: with any.
    """

    def __init__(self, name: str, tools: Iterable[Tool] = (), *, prefix: str | None = None) -> None:
        self.name = name
        self.prefix = prefix
        self._tools = tuple(tools)
        self._version = 0

    @property
    def tools(self) -> tuple[Tool, ...]:
        return self._tools

    @property
    def version(self) -> int:
        """Another number after each change."""
        return self._version

    async def ready(self) -> None:
        """Returns when it knows its tools. Raises ToolFailed."""

    def replace(self, tools: Iterable[Tool]) -> None:
        """From now on, it has these. To be called in the thread of the event loop."""
        self._tools = tuple(tools)
        self._version += 1
