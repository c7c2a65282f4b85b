"""The settings of tools, and the tools made by them: for executors, and for commands that run documents themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

from flowyard.outbound.allowlist import PUBLIC_ONLY, OutboundAllow
from flowyard.settings import Settings
from flowyard.tools.folders import NO_FOLDERS, Folders, read_folders
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import ToolServices


class ToolSettings(Settings):
    outbound_allow: OutboundAllow = PUBLIC_ONLY
    tool_folders: Annotated[Folders, NoDecode, PlainValidator(read_folders)] = Field(
        NO_FOLDERS,
        description="Folders whose files tools may read, and write if it says so: docs=/srv/docs, out=/srv/out:write",
    )


@asynccontextmanager
async def open_tools(settings: ToolSettings, environ: Mapping[str, str]) -> AsyncIterator[ToolRegistry]:
    """The tools of an installation, for as long as their clients are open. `environ`: names the proxies."""
    # Inline: commands that only read the settings need no client.
    from flowyard.outbound.client import open_outbound  # noqa: PLC0415

    async with open_outbound(environ, settings.outbound_allow) as http:
        yield ToolRegistry(built_in(ToolServices(http=http, folders=settings.tool_folders)))
