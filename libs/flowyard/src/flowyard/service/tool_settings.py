"""The settings of tools, and the tools made by them: for executors, and for commands that run documents themselves."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, PlainValidator
from pydantic_settings import NoDecode

from flowyard.language.installation import Variables
from flowyard.language.nodes import CodeLimits
from flowyard.mcp_client.servers import Clients, open_mcp_servers
from flowyard.mcp_client.settings import McpServersSetting, hosts_of
from flowyard.mcp_client.source import ServerSource
from flowyard.service.reaching_settings import ReachingSettings, named_addresses, reaching_services
from flowyard.service.shell_programs import ShellSettings
from flowyard.steps.code import MOST_BYTES
from flowyard.steps.code_runner import CodeCall, RunCode
from flowyard.tasks import cancel
from flowyard.threads import in_daemon_thread
from flowyard.tools.folders import NO_FOLDERS, Folders, read_folders
from flowyard.tools.openapi_of_documents import DocumentApis
from flowyard.tools.openapi_settings import Apis
from flowyard.tools.registry import ToolRegistry, built_in
from flowyard.tools.services import ExecuteCode, RunProgram, ToolServices
from flowyard.tools.sources import ToolSource

log = logging.getLogger(__name__)

_IMPORTED_IN_S: Final = 60.0


def _folder(text: str) -> str:
    if text and not Path(text).is_dir():
        raise ValueError("should be a folder")
    return text


class ToolSettings(ReachingSettings, ShellSettings):
    """Of each group of tools, the settings are a class of their own."""

    tool_folders: Annotated[Folders, NoDecode, PlainValidator(read_folders)] = Field(
        NO_FOLDERS,
        description="Folders whose files tools may read, and write if it says so: docs=/srv/docs, out=/srv/out:write",
    )
    tools: Annotated[str, AfterValidator(_folder)] = Field(
        "", description="Folder of Python files whose functions are tools; their code runs in the executor itself"
    )
    openapi: Apis = Field(
        (),
        description="HTTP APIs whose operations are tools, as JSON or YAML, or a file of it: "
        '[{"openapi": "https://api.example.com/openapi.json", "operations": ["listPets"]}]',
    )
    mcp_servers: McpServersSetting


@asynccontextmanager
async def open_tools(
    settings: ToolSettings,
    environ: Mapping[str, str],
    variables: Variables,
    *,
    run_code: RunCode | None = None,
    run_program: RunProgram | None = None,
    refreshes: bool = False,
) -> AsyncIterator[ToolRegistry]:
    """The tools of an installation, for as long as their clients are open.

    `environ`: names the proxies, and has what headers refer to; `variables`: those that documents may name.
    `run_code`, `run_program`: where there are sandboxes. `refreshes`: servers of MCP are asked for their tools at once,
    and again and again, and not only when a step needs them.
    """
    # Inline: commands that only read the settings need no client.
    from flowyard.outbound.client import open_outbound  # noqa: PLC0415

    certificates = await asyncio.to_thread(ssl.create_default_context)
    named = named_addresses(settings) | hosts_of(settings.mcp_servers.values())
    async with (
        open_outbound(environ, settings.outbound_allow, certificates=certificates) as http,
        open_outbound(environ, named, certificates=certificates) as trusted_http,
        open_mcp_servers(Clients(own=trusted_http, guarded=http), environ, variables) as servers,
        AsyncExitStack() as stack,
    ):
        of_servers = [ServerSource(server, servers) for server in settings.mcp_servers.values()]
        keeping = [asyncio.create_task(source.keep()) for source in of_servers if refreshes]
        stack.push_async_callback(cancel, keeping)
        services = ToolServices(
            http=http,
            trusted_http=trusted_http,
            folders=settings.tool_folders,
            programs=settings.shell_programs,
            run_program=run_program,
            run_code=_executing(run_code) if run_code is not None else None,
            **reaching_services(settings),
        )
        own_tools = [await _own_tools(Path(settings.tools))] if settings.tools else []
        async with _apis(settings, services, environ) as apis:
            of_documents = DocumentApis(services, environ, variables)
            yield ToolRegistry(built_in(services), [*own_tools, *apis, *of_servers], servers.tools, of_documents.tools)


@asynccontextmanager
async def _apis(
    settings: ToolSettings, services: ToolServices, environ: Mapping[str, str]
) -> AsyncIterator[Sequence[ToolSource]]:
    if not settings.openapi:
        yield ()
        return
    # Inline: most installations have none.
    from flowyard.tools.openapi_sources import open_apis  # noqa: PLC0415

    async with open_apis(settings.openapi, services, environ) as sources:
        yield sources


def _executing(run_code: RunCode) -> ExecuteCode:
    async def execute(code: str, inputs: str, limits: CodeLimits) -> tuple[str, str]:
        ran = await run_code(CodeCall(code, inputs, limits, MOST_BYTES))
        return ran.result, ran.log

    return execute


async def _own_tools(folder: Path) -> ToolSource:
    """What can't be used is in the log, and left out."""
    # Inline: most installations have none.
    from flowyard.tools.own_files import NAME, load_own_tools  # noqa: PLC0415

    try:
        async with asyncio.timeout(_IMPORTED_IN_S):
            return ToolSource(NAME, (await in_daemon_thread(lambda: load_own_tools(folder))).tools)
    except TimeoutError:
        log.warning("no own tools: it takes longer than %s s to import them", _IMPORTED_IN_S)
        return ToolSource(NAME)
