"""HTTP APIs that a document describes by an address, with the operations that its node may call. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_LONGEST: Final = 32
_OTHERS: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteApi:
    """`name`: the first part of its tools' names. `openapi`: the address of the description.

    `server`: where the API is; None: as the description says. Headers may contain `${env:NAME}`.
    """

    name: str
    openapi: str = field(repr=False)
    operations: tuple[str, ...]
    server: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def name_from(address: str) -> str:
    """A name for the tools of an API, after the host of its description: `api_example_com`."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        host = ""
    short = _OTHERS.sub("_", host).strip("_")[:_LONGEST].rstrip("_")
    return short if short[:1].isalpha() else f"api_{short}"[:_LONGEST].rstrip("_")
