"""Which web pages of other sites may use the API: none, unless their origins are listed (CORS)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeAlias

from pydantic import Field, PlainValidator
from pydantic_settings import NoDecode

_ORIGIN: Final = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_MOST: Final = 100
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def read_origins(text: object) -> tuple[str, ...]:
    """`https://app.example.com, http://localhost:5173` → origins, as browsers send them. Raises ValueError."""
    words = str(text).replace(",", " ").split() if not isinstance(text, tuple) else text
    origins = tuple(dict.fromkeys(_origin(word) for word in words))
    if len(origins) > _MOST:
        raise ValueError(f"has {len(origins)} origins, and may have {_MOST}")
    return origins


def _origin(word: str) -> str:
    origin = word.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"'{word}' isn't an origin, such as https://app.example.com; there are no wildcards")
    scheme = origin.partition(":")[0]
    return origin.removesuffix(f":{_DEFAULT_PORTS[scheme]}")


Origins: TypeAlias = Annotated[
    tuple[str, ...],
    NoDecode,
    PlainValidator(read_origins),
    Field(description="Origins of web pages that may use the API in browsers (CORS), separated by commas"),
]

_STAINLESS: Final = (
    "arch", "helper-method", "lang", "os", "package-version", "poll-helper", "retry-count", "runtime",
    "runtime-version", "timeout",
)  # fmt: skip
CORS: Final[dict[str, Any]] = {
    "allow_methods": ("GET", "POST", "PUT", "PATCH", "DELETE"),
    "allow_headers": (
        *("authorization", "content-type", "idempotency-key", "last-event-id", "x-flowyard-session-id"),
        # OpenAI's own client sends these in browsers, too.
        *(f"x-stainless-{name}" for name in _STAINLESS),
    ),
    "expose_headers": (
        *("location", "retry-after", "x-request-id", "x-should-retry"),
        *("x-flowyard-run-id", "x-flowyard-session-id"),
    ),
    # A page has to send a key: cookies of browsers open nothing.
    "allow_credentials": False,
    "max_age": 600,
}
"""The arguments of Starlette's middleware, but for the origins."""
