"""Reads the machine's certificates once, instead of 30 ms of CPU for each HTTP client. A plugin, loaded by conftest.py.

Nearly each test of a service opens several clients, and none of them talks to the world.
"""

from __future__ import annotations

import os
import ssl
from functools import cache
from importlib import import_module
from typing import Any, Final

_transports: Any = import_module("httpx._transports.default")
_httpx: Any = import_module("httpx")
_create: Final = _transports.create_ssl_context


def pytest_configure() -> None:
    _transports.create_ssl_context = _httpx.create_ssl_context = _shared


def _shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:  # noqa: FBT001, FBT002
    """As httpx calls it."""
    if verify is not True or cert is not None:
        other: ssl.SSLContext = _create(verify, cert, trust_env)
        return other
    return _of(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _of(trust_env: bool, *_variables: str | None) -> ssl.SSLContext:  # noqa: FBT001
    context: ssl.SSLContext = _create(trust_env=trust_env)
    return context
