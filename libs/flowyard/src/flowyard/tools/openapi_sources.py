"""The tools of HTTP APIs: their descriptions are read when a process starts, and again until that has worked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from flowyard.language.openapi.description import Api, read_api
from flowyard.language.secret_references import replace_references
from flowyard.secrets.masking import Masker
from flowyard.tasks import cancel
from flowyard.threads import in_daemon_thread
from flowyard.tools.openapi_calls import tool_of
from flowyard.tools.openapi_settings import ApiSettings, parsed
from flowyard.tools.sending import client_of, send
from flowyard.tools.services import ToolServices
from flowyard.tools.sources import ToolSource
from flowyard.tools.tool import Tool, ToolFailed

log = logging.getLogger(__name__)

_MOST_BYTES: Final = 32_000_000
_FIRST_WITHIN_S: Final = 20.0
"""How long the others wait for descriptions at the start."""
_AGAIN_S: Final = 60.0


@asynccontextmanager
async def open_apis(
    apis: Sequence[ApiSettings], services: ToolServices, environ: Mapping[str, str]
) -> AsyncIterator[list[ToolSource]]:
    """A source for each. What can't be used is in the log, and left out. `environ`: what headers may refer to."""
    sources = [ToolSource(f"openapi:{number}:{api.name or api.openapi}") for number, api in enumerate(apis, start=1)]
    tasks = [
        asyncio.create_task(_fill(source, api, services, environ)) for source, api in zip(sources, apis, strict=True)
    ]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=_FIRST_WITHIN_S)
        yield sources
    finally:
        await cancel(tasks)


async def _fill(source: ToolSource, api: ApiSettings, services: ToolServices, environ: Mapping[str, str]) -> None:
    while True:
        try:
            tools, faults = await tools_of(api, services, environ)
            for fault in faults:
                log.error("no tool of %s: %s", api.openapi, fault)
            source.replace(tools)
        except (ToolFailed, ValueError, OSError) as error:
            log.error("no tools of %s: %s", api.openapi, error)  # noqa: TRY400  # it says all
            if api.address is None:
                return
            await asyncio.sleep(_AGAIN_S)
        else:
            return


async def tools_of(
    api: ApiSettings, services: ToolServices, environ: Mapping[str, str], *, most_bytes: int = _MOST_BYTES
) -> tuple[list[Tool], list[str]]:
    """And why some operations can't be tools. `most_bytes`: of the description.

    Raises ToolFailed, ValueError, OSError.
    """
    secrets: set[str] = set()
    headers = {name: _resolved(name, value, environ, secrets) for name, value in api.headers.items()}
    content = await _content(api, services, most_bytes)
    described = await in_daemon_thread(lambda: _described(api, content))
    masker = Masker(secrets)
    return [tool_of(operation, headers, services, masker) for operation in described.operations], described.faults


def _described(api: ApiSettings, content: bytes) -> Api:
    return read_api(parsed(content), name=api.name, operations=api.operations, server=api.server, source=api.address)


async def _content(api: ApiSettings, services: ToolServices, most_bytes: int) -> bytes:
    if api.address is None:
        return await in_daemon_thread(Path(api.openapi).read_bytes)
    # Inline: only executors have the client.
    from flowyard.outbound.requests import OutboundRequest  # noqa: PLC0415

    request = OutboundRequest(method="GET", url=api.address, redirects=3, answer_limit=most_bytes)
    answer = await send(client_of(services), request)
    if answer.status != 200:
        raise ToolFailed(f"it answered {answer.status}")
    return answer.body


def _resolved(header: str, text: str, environ: Mapping[str, str], secrets: set[str]) -> str:
    """`secrets`: where the values go that it refers to."""

    def look_up(kind: str, name: str) -> str:
        if kind != "env" or not environ.get(name):
            raise ToolFailed(f"the header '{header}' refers to {kind}:{name}, which isn't there")
        secrets.add(environ[name])
        return environ[name]

    return replace_references(text, look_up)
