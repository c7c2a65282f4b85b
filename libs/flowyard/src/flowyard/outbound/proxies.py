"""Which proxy a request goes through: the environment's, but not to this machine and to private networks. Pure.

The variables are those of curl: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # public, but without types

_PRIVATE_NAMES: Final = (".internal", ".lan", ".local", ".localhost")


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's address, or None if the request goes to the server itself."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        # The call itself reports what is wrong with it.
        return None
    if host is None or is_private(host):
        return None
    if proxy_bypass_environment(f"{host}:{port}" if port else host, {"no": _value(environ, "no_proxy") or ""}):
        return None
    proxy = _value(environ, f"{parts.scheme}_proxy") or _value(environ, "all_proxy")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def proxy_fault(proxy: str) -> str | None:
    """Why a call can't go through it, or None."""
    scheme, _, _ = proxy.partition("://")
    if scheme.lower() not in ("http", "https"):
        what = f"{scheme}://{shown(proxy)} is no HTTP proxy, and others aren't supported"
        return f"the environment's proxy {what}: set HTTPS_PROXY"
    if not _is_address(proxy):
        return f"the environment's proxy {shown(proxy) or proxy} is no address: correct the variable that names it"
    return None


def _is_address(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return bool(parts.hostname) and parts.port != 0 and not any(character.isspace() for character in proxy)
    except ValueError:
        return False


def shown(proxy: str) -> str:
    """Its host and port, without user and password."""
    return _authority(proxy).rpartition("@")[2]


def credentials(*proxies: str | None) -> frozenset[str]:
    """The users and passwords in the addresses of proxies, also of malformed ones."""
    users = (_authority(proxy).rpartition("@")[0].partition(":") for proxy in proxies if proxy)
    return frozenset(text for user, _, password in users for text in (user, password) if text)


def _authority(proxy: str) -> str:
    """User, password, host and port."""
    before, mark, rest = proxy.partition("://")
    return re.split(r"[/?#]", rest if mark else before, maxsplit=1)[0]


def all_credentials(environ: Mapping[str, str]) -> frozenset[str]:
    """Those of all proxies that the environment names."""
    return credentials(*(_value(environ, name) for name in ("http_proxy", "https_proxy", "all_proxy")))


@lru_cache(256)
def is_private(host: str) -> bool:
    """Whether a host is this machine or in a private network. A name without a dot can't be anywhere else."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host.rstrip(".") or host.rstrip(".").lower().endswith(_PRIVATE_NAMES)
    return address.is_private or address.is_loopback or address.is_link_local


def _value(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or environ.get(name.upper(), "").strip() or None
