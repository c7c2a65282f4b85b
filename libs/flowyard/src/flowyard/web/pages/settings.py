"""Settings of services with pages."""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_PATH: Final = re.compile(r"[A-Za-z0-9._~/%-]*")


def _public(url: str) -> str:
    """Checks a URL strictly, because it becomes part of a header and of pages."""
    parts = urlsplit(url)
    is_plain = _HOST.fullmatch(parts.netloc) and _PATH.fullmatch(parts.path) and not parts.query and not parts.fragment
    if url and not (parts.scheme in ("http", "https") and is_plain):
        raise ValueError("must look like https://mlflow.example.com:5000, without a user and a query")
    return url.rstrip("/")


PublicUrl: TypeAlias = Annotated[str, AfterValidator(_public)]
SessionHours: TypeAlias = Annotated[float, Field(gt=0, le=720, description="Hours until a user must log in again")]
