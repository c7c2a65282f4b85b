"""The headers of pages: nothing is loaded from elsewhere, nothing inline is executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Send

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not `no-referrer`: browsers would not send the origin either, and SessionGuard checks it.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""The headers of every response."""
_ENCODED: Final = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def with_headers(send: Send) -> Send:
    """Adds them to a response, as far as it doesn't have them."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            message = {**message, "headers": own + [header for header in _ENCODED if header[0] not in names]}
        await send(message)

    return sent
