"""Ends the reading of an answer at once if its chunks aren't as HTTP demands.

aiohttp closes only the connection then, so that whoever reads the answer waits until the call's timeout.
"""

from __future__ import annotations

from functools import wraps
from typing import Any, Final

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

BROKEN_CHUNKS: Final = "the answer's chunks are malformed"


def notify_readers() -> None:
    """For all clients of the process; a second time, it does nothing."""
    fail = ResponseHandler.set_exception
    if hasattr(fail, "__wrapped__"):
        return

    @wraps(fail)
    def wrapped(handler: Any, error: BaseException, *cause: Any) -> None:
        fail(handler, error, *cause)
        payload = handler._payload  # noqa: SLF001  # there is no other way from a connection to its answer
        is_read = payload is not None and not payload.is_eof() and payload.exception() is None
        if is_read and isinstance(error, HttpProcessingError):
            payload.set_exception(ClientPayloadError(BROKEN_CHUNKS))

    ResponseHandler.set_exception = wrapped  # type: ignore[assignment, method-assign]
