"""Templates, filled. Whatever is filled in is escaped, unless a template of ours made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from flowyard.access import Caller
from flowyard.storage.overview import MOST_COUNTED
from flowyard_dashboard.assets import Assets

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # With `no-referrer` browsers tell no origin either, and forms are checked by it.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every answer."""

LONGEST_SHOWN: Final = 20_000
"""Characters of one value."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where browsers find what isn't ours. Empty: there is none."""

    mlflow_url: str = ""
    grafana_url: str = ""


class Pages:
    """One per process. Templates are read once each."""

    def __init__(self, assets: Assets, elsewhere: Elsewhere) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals |= {"asset": assets.url, "elsewhere": elsewhere, "most_counted": MOST_COUNTED}
        self._templates.filters |= {
            "cut": cut,
            "cut_short": cut_short,
            "glance": glance,
            "in_path": in_path,
            "money": money,
            "number": number,
            "seconds": seconds,
            "short": short,
            "shown": shown,
            "moment": moment,
            "utc": utc,
        }
        self._parts: Any = self._templates.get_template("parts.html").module

    def page(self, request: Request, name: str, *, status: int = 200, **values: Any) -> Response:
        """A whole page. Who is logged in is known from the request."""
        return html(self.text(f"{name}.html", caller=caller_of(request), path=request.url.path, **values), status)

    def part(self, name: str, *values: Any) -> str:
        """One of the macros in `parts.html`."""
        return str(getattr(self._parts, name)(*values)).strip()

    def text(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(values)


def html(text: str, status: int = 200) -> Response:
    # What a model replied may hold halves of surrogate pairs, which UTF-8 can't carry.
    return Response(text.encode(errors="replace"), status, media_type="text/html")


def caller_of(request: Request) -> Caller | None:
    """Who is logged in; None on the pages that need nobody."""
    caller: Caller | None = request.scope.get("state", {}).get("caller")
    return caller


def shown(value: Any) -> str:
    """A value of the state, as a person reads it."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return cut(text, LONGEST_SHOWN)


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def cut_short(text: str, most: int) -> str:
    """As `cut`, where there is no room to say how much is missing."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def glance(outputs: Mapping[str, Any]) -> str:
    """The beginning of what a step wrote, in a line."""
    told = (
        f"{name}: {value if isinstance(value, str) else json.dumps(value)}"[:200] for name, value in outputs.items()
    )
    return cut_short(" ".join(" · ".join(told).split()), 110)


def short(run_id: str) -> str:
    """Enough of an id to tell runs apart: it begins with the time, and its end is random."""
    return run_id[-8:]


def number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def money(value: Decimal | None) -> str:
    """US dollars, never rounded to nothing."""
    if value is None:
        return "unknown"
    if 0 < value < Decimal("0.0001"):
        return "< $0.0001"
    if value == 0:
        return "$0"
    return f"${value:,.4f}"


def in_path(name: str) -> str:
    """A name as one part of an address."""
    return quote(name, safe="")


def seconds(duration: float | timedelta) -> str:
    s = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if s < 1:
        return f"{s * 1000:.0f} ms"
    if s < 60:
        return f"{s:.1f} s"
    minutes, rest = divmod(int(s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(at: datetime) -> str:
    """Until a script tells it in the reader's own time: as long, so that nothing moves."""
    return at.strftime("%b %d %H:%M:%S")


def utc(at: datetime) -> str:
    """As a `time` element wants it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
