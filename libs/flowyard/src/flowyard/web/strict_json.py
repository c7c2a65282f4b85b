"""Parses the JSON bodies of all requests, and refuses JSON that is ambiguous or can't be stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response

from flowyard.containers import MOST_CONTAINERS, TooManyContainers
from flowyard.errors.requests import InvalidRequest, TooDense
from flowyard.exact_json import json_fault, strict_json
from flowyard.web.openapi import NamedRoute

_LARGE: Final = 64 * 1024
"""Bytes of a body that is read in a thread."""
_MOST_KEYS: Final = 100
"""Keys of the outermost object. No request has so many, and each unknown one costs the time of a problem."""


class StrictJsonRoute(NamedRoute):
    """The `route_class` of routers whose routes take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


class StrictRequest(Request):
    """A request whose `json` raises InvalidRequest, TooDense; JSONDecodeError, UnicodeDecodeError."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            value = strict_json(body) if len(body) <= _LARGE else await asyncio.to_thread(strict_json, body)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except TooManyContainers as error:
            raise TooDense("the request's body", error.count, limit=MOST_CONTAINERS) from error
        except ValueError as error:
            raise InvalidRequest([{"where": "body", "message": json_fault(error)}]) from error
        if isinstance(value, dict) and len(value) > _MOST_KEYS:
            message = f"it has {len(value):,} keys; the limit is {_MOST_KEYS}"
            raise InvalidRequest([{"where": "body", "message": message}])
        return value
