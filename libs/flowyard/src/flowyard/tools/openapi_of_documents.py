"""The tools of APIs that documents describe: their descriptions are read when a step begins, and kept for some time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from flowyard.language.installation import Variables
from flowyard.language.openapi.of_documents import RemoteApi
from flowyard.tools.openapi_settings import ApiSettings
from flowyard.tools.openapi_sources import tools_of
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolFailed

MOST_BYTES: Final = 2_000_000
"""Of a description."""
_FRESH_S: Final = 600.0
_MOST_KEPT: Final = 64
_SHOWN: Final = 3


class DocumentApis:
    """`environ`: what headers refer to. `variables`: those that documents may name."""

    def __init__(self, services: ToolServices, environ: Mapping[str, str], variables: Variables) -> None:
        self._services = services
        self._environ = {name: value for name, value in environ.items() if variables.allow(name)}
        self._read: OrderedDict[RemoteApi, tuple[float, Sequence[Tool]]] = OrderedDict()

    async def tools(self, api: RemoteApi) -> Sequence[Tool]:
        """Raises ToolFailed."""
        until, tools = self._read.get(api, (0.0, ()))
        if time.monotonic() < until:
            return tools
        described = ApiSettings.model_construct(
            openapi=api.openapi, operations=api.operations, name=api.name, server=api.server, headers=dict(api.headers)
        )
        try:
            tools, faults = await tools_of(described, self._services, self._environ, most_bytes=MOST_BYTES)
            if faults:
                raise ToolFailed("; ".join(faults[:_SHOWN]))
        except (ToolFailed, ValueError) as error:
            raise ToolFailed(f"no tools of {api.openapi}: {error}") from error
        self._read[api] = time.monotonic() + _FRESH_S, tools
        while len(self._read) > _MOST_KEPT:
            self._read.popitem(last=False)
        return tools
