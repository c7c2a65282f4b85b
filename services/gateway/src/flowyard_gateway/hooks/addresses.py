"""The address of a webhook as its sender has it: some sign it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Scope

from flowyard.web.wrong_keys import Networks, is_trusted


def public_url(scope: Scope, base: str, trusted: Networks) -> str:
    """`base`: the gateway's public address; empty: that of the request, or what a trusted proxy says of it."""
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return f"{base or _base(scope, trusted)}{path}" + (f"?{query}" if query else "")


def _base(scope: Scope, trusted: Networks) -> str:
    headers = Headers(scope=scope)
    scheme, host = scope.get("scheme", "http"), headers.get("host", "")
    client = scope.get("client")
    if client is not None and is_trusted(client[0], trusted):
        # What the last proxy has written is at the end.
        scheme = _last(headers, "x-forwarded-proto") or scheme
        host = _last(headers, "x-forwarded-host") or host
    return f"{scheme}://{host}"


def _last(headers: Headers, name: str) -> str:
    return ",".join(headers.getlist(name)).rpartition(",")[2].strip()
