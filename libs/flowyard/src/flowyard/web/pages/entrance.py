"""The entrance to a service's pages: what checks who gets to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import Request

from flowyard.storage.keys import CachedKeys, Keys, Sessions
from flowyard.web.auth import TakeRequest
from flowyard.web.pages.site import Site
from flowyard.web.pages.templating import Pages
from flowyard.web.wrong_keys import Networks, WrongKeys

COOKIE: Final = "flowyard_session"
"""The same for all services: browsers send it to each port of a host, so one login is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One per process. `session_s`: how long a login lasts. `form_limit`: most bytes of a value of a form.

    `scrapers`: checks the keys of machines, if they are let in beside the pages. `take_request`: counts a request of a
    key with a rate.
    """

    site: Site
    pages: Pages
    keys: Keys
    sessions: Sessions
    wrong_keys: WrongKeys
    trusted: Networks
    session_s: float
    form_limit: int
    scrapers: CachedKeys | None = None
    take_request: TakeRequest | None = None


async def read_form_body(request: Request, *, most_bytes: int) -> dict[str, str]:
    """The values of a submitted form by name, each of at most `most_bytes`. Raises TooLarge, HTTPException."""
    async with request.form(max_part_size=most_bytes) as form:
        return {name: value for name, value in form.items() if isinstance(value, str)}
