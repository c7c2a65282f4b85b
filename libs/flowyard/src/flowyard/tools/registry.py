"""All tools by name. A new one is a file of its own, and a line here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from flowyard.language.mcp_servers import RemoteServer
from flowyard.language.openapi.of_documents import RemoteApi
from flowyard.language.tools import ToolFacts, ToolUse, name_fault, wire_name
from flowyard.tools import code_run, email_send, http_request, shell_run, slack_post, sql_query, web_fetch, web_search
from flowyard.tools.files import file_tools
from flowyard.tools.json_query import JSON_QUERY
from flowyard.tools.math_eval import MATH_EVAL
from flowyard.tools.node_tools import NodeTools, node_tools
from flowyard.tools.services import NO_SERVICES, ToolServices
from flowyard.tools.sources import ToolSource
from flowyard.tools.template_render import TEMPLATE_RENDER
from flowyard.tools.text_regex import TEXT_REGEX
from flowyard.tools.text_split import TEXT_SPLIT
from flowyard.tools.time_now import TIME_NOW
from flowyard.tools.tool import Tool, ToolFailed

log = logging.getLogger(__name__)

ToolsOfServer: TypeAlias = Callable[[RemoteServer], Awaitable[Iterable[Tool]]]
"""Raises ToolFailed."""
ToolsOfApi: TypeAlias = Callable[[RemoteApi], Awaitable[Iterable[Tool]]]
"""Raises ToolFailed."""


def built_in(services: ToolServices = NO_SERVICES) -> tuple[Tool, ...]:
    """The tools that need nothing, and those that are made from what an installation gives them."""
    return (
        code_run.tool(services),
        email_send.tool(services),
        *file_tools(services),
        http_request.get_tool(services),
        http_request.request_tool(services),
        JSON_QUERY,
        MATH_EVAL,
        shell_run.tool(services),
        slack_post.tool(services),
        sql_query.tool(services),
        TEMPLATE_RENDER,
        TEXT_REGEX,
        TEXT_SPLIT,
        TIME_NOW,
        web_fetch.tool(services),
        web_search.tool(services),
    )


class ToolRegistry:
    """The tools of one process: those that don't change, without `tools` the built-in ones, and those of sources.

    Raises ValueError for two of the former that have the same name, or that a model can't tell apart. A tool of a
    source whose name is taken is left out, with a warning in the log. `servers`, `apis`: list the tools of a
    document's server or API.
    """

    def __init__(
        self,
        tools: Iterable[Tool] | None = None,
        sources: Iterable[ToolSource] = (),
        servers: ToolsOfServer | None = None,
        apis: ToolsOfApi | None = None,
    ) -> None:
        self._servers = servers
        self._apis = apis
        self._fixed: dict[str, Tool] = {}
        self._sources = tuple(sources)
        self._versions: list[int] = []
        for tool in built_in() if tools is None else tools:
            if (other := _add(tool, self._fixed)) is not None:
                raise ValueError(f"the tools '{other}' and '{tool.name}' have the same name for models")
        # By their names for models.
        self._tools = self._fixed
        self._of_sources: dict[str, tuple[ToolFacts, ...]] = {}

    def get(self, name: str) -> Tool | None:
        tool = self._now().get(wire_name(name))
        return tool if tool is not None and tool.name == name else None

    async def of_node(self, uses: Sequence[ToolUse]) -> NodeTools:
        """What a node may use, once it is known. Raises ToolFailed for what isn't there."""
        known: dict[ToolUse, Iterable[Tool]] = {}
        for use in uses:
            prefix = use.name.partition(".")[0]
            if use.server is None:
                await self.ready_for(use.name)
                known[use] = self
            else:
                if any(name.partition(".")[0] == prefix for name in self._names()):
                    raise ToolFailed(f"'{prefix}' can't be a server of a document: this installation has such tools")
                known[use] = await self._of_remote(use.server, use.name)
        return node_tools(uses, known)

    async def _of_remote(self, remote: RemoteServer | RemoteApi, name: str) -> Iterable[Tool]:
        if isinstance(remote, RemoteApi):
            if self._apis is not None:
                return await self._apis(remote)
        elif self._servers is not None:
            return await self._servers(remote)
        raise ToolFailed(f"no server is called here, and '{name}' is a tool of one")

    async def ready_for(self, name: str) -> None:
        """Returns when the source that may have this tool knows its tools. Raises ToolFailed."""
        for source in self._sources:
            if source.prefix == name.partition(".")[0]:
                await source.ready()

    async def ready(self) -> list[str]:
        """Returns when all sources know their tools, with what is wrong with those that don't."""
        done = await asyncio.gather(*(source.ready() for source in self._sources), return_exceptions=True)
        if unexpected := [each for each in done if each is not None and not isinstance(each, ToolFailed)]:
            raise unexpected[0]
        return [str(each) for each in done if each is not None]

    def _names(self) -> Iterator[str]:
        yield from (tool.name for tool in self)
        yield from (f"{source.prefix}." for source in self._sources if source.prefix is not None)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._now().values())

    @property
    def facts(self) -> Mapping[str, ToolFacts]:
        """What documents are checked against."""
        return {tool.name: tool.facts for tool in self}

    @property
    def facts_of_sources(self) -> Mapping[str, tuple[ToolFacts, ...]]:
        """What is announced: the tools of each source. The same object until one of them changes."""
        self._now()
        return self._of_sources

    def _now(self) -> Mapping[str, Tool]:
        versions = [source.version for source in self._sources]
        if versions != self._versions:
            self._tools, self._of_sources = dict(self._fixed), {}
            for source in self._sources:
                self._of_sources[source.name] = tuple(self._joined(source))
            self._versions = versions
        return self._tools

    def _joined(self, source: ToolSource) -> Iterator[ToolFacts]:
        for tool in source.tools:
            fault = name_fault(tool.name)
            if fault is None and (other := _add(tool, self._tools)) is not None:
                fault = f"'{other}' has its name, or one that is the same for models"
            if fault is None:
                yield tool.facts
            else:
                log.warning("a tool is left out: %s", fault, extra={"tool": tool.name, "source": source.name})


def _add(tool: Tool, tools: dict[str, Tool]) -> str | None:
    """Adds it, unless its name is taken: then it returns by which."""
    other = tools.setdefault(tool.facts.wire_name, tool)
    return None if other is tool else other.name
