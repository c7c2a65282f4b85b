"""Which text can be the address of a model's API, or of a webhook that is sent. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

_MAX_LENGTH: Final = 2000
_NOT_IN_AN_ADDRESS: Final = re.compile(r"[\x00-\x20\x7f\xa0\u2028\u2029\\]")

_NOT_IN_A_URL: Final = re.compile(r"[^!-\[\]-~]")


def normal_address(address: str) -> str:
    """The address with its scheme in lower case: `HTTP://` means the same."""
    scheme, separator, rest = address.partition("://")
    return scheme.lower() + separator + rest


@lru_cache(256)
def address_fault(address: str) -> str | None:
    """What is wrong with it, without the address, which may contain a password. None: nothing."""
    if len(address) > _MAX_LENGTH:
        return f"has {len(address):,} characters, and {_MAX_LENGTH:,} are allowed"
    if wrong := _NOT_IN_AN_ADDRESS.search(address):
        return f"contains the character U+{ord(wrong[0]):04X}"
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return _fault_of_host(address)
    if parts.username is not None:
        return "contains a user or a password, which would be shown in errors: name the key's variable in api_key_env"
    if "?" in address or "#" in address:
        return "contains a query or a fragment: paths are added to its end"
    if parts.scheme not in ("http", "https") or not has_host:
        return "must be an address with a host"
    return None


def url_fault(url: str) -> str | None:
    """As `address_fault`, of a URL that may have a query and that a webhook is sent to."""
    if len(url) > _MAX_LENGTH:
        return f"has {len(url):,} characters, and {_MAX_LENGTH:,} are allowed"
    if wrong := _NOT_IN_A_URL.search(url):
        return f"contains the character U+{ord(wrong[0]):04X}, which has to be encoded"
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return _fault_of_host(url)
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not has_host:
        return "must be an address with a host"
    if parts.username is not None:
        return "contains a user or a password, which everybody could read"
    return "contains a fragment, which isn't sent" if "#" in url else None


def _fault_of_host(address: str) -> str:
    if "@" in address:
        return "must be an address"
    host = address.partition("://")[2].partition("/")[0]
    if "[" in host or "]" in host:
        return "must be an address: in brackets is an IPv6 address, such as http://[::1]:8000"
    return f"must be an address with a port from 1 to 65535, not {host.rpartition(':')[2][:20]!r}"
