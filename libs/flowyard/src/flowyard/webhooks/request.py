"""A webhook as it came over HTTP, and what it becomes: an answer, or deliveries."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from flowyard.errors.webhooks import Reason, Unverified

MOST_FIELDS: Final = 1000
"""Fields of a query or of a form."""


@dataclass(frozen=True, slots=True)
class HookRequest:
    """`url`: the whole address, as the sender has it. `body`: the bytes as they came, since those are signed."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """The value of a header, whose `name` is in lower case; None if it is missing or empty.

        Raises Unverified if there are several of this name: another program could read another one.
        """
        values = [value for key, value in self.headers if key.lower() == name]
        if len(values) > 1:
            raise Unverified("repeated_header")
        return values[0] or None if values else None

    def required(self, name: str, missing: Reason) -> str:
        """The value of a header. Raises Unverified, with the reason `missing` if there is none."""
        value = self.header(name)
        if value is None:
            raise Unverified(missing)
        return value

    def parameter(self, name: str) -> str | None:
        """The value of a field of the query. Raises Unverified if there are several, or if the URL can't be read."""
        try:
            query = parse_qsl(urlsplit(self.url).query, keep_blank_values=True, max_num_fields=MOST_FIELDS)
        except ValueError:
            raise Unverified("malformed_url") from None
        values = [value for key, value in query if key == name]
        if len(values) > 1:
            raise Unverified("repeated_parameter")
        return values[0] if values else None

    def with_headers(self, *headers: tuple[str, str]) -> HookRequest:
        return replace(self, headers=(*self.headers, *headers))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender has to be answered at once, to a request that starts nothing."""

    status: int
    body: bytes = b""
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class HookDelivery:
    """What can start a run. `id`: the same in all copies of it, and in no other; None if the sender gives none."""

    id: str | None
    payload: Any = field(repr=False)


NOTHING: Final = Answer(204)


def json_answer(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), "application/json")
