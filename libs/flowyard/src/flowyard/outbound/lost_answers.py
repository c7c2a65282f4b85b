"""Why an answer can't be read, in our words: aiohttp's are about its own insides and settings. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import aiohttp
from aiohttp import http_exceptions

UNPACKED: Final = "the answer's compression can't be read"
_CUT_OFF: Final = "the answer ended in the middle"


def why_lost(chain: Iterable[BaseException]) -> str:
    """`chain`: the error and its causes. In words of the system, if it is one of its errors."""
    errors = list(chain)
    for error in errors:
        match error:
            case http_exceptions.ContentEncodingError():
                return UNPACKED
            case http_exceptions.LineTooLong():
                return "the answer has a header that is too long"
            case http_exceptions.TransferEncodingError() | http_exceptions.ContentLengthError():
                return _CUT_OFF
            case aiohttp.ClientConnectorCertificateError():
                return str(error.certificate_error)
    for error in errors:
        match error:
            case aiohttp.ClientConnectorError():
                return error.os_error.strerror or str(error.os_error)
            case aiohttp.ServerDisconnectedError():
                return "the server closed the connection"
            case aiohttp.ClientPayloadError():
                return _words_of(error) or _CUT_OFF
            case aiohttp.ClientHttpProxyError():
                return f"the proxy answered {error.status}"
            case http_exceptions.HttpProcessingError() | aiohttp.ClientResponseError():
                return "the answer is no HTTP"
            case OSError():
                return error.strerror or str(error) or type(error).__name__
    return str(errors[0]) or type(errors[0]).__name__


def _words_of(error: aiohttp.ClientPayloadError) -> str:
    """Ours, if it is an error of ours."""
    text = str(error)
    return text if text.startswith("the answer") else ""
