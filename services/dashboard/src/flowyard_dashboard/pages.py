"""Renders templates. All values are escaped, except HTML that was rendered by our own templates."""

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
from flowyard.web.slow_readers import PacedResponse
from flowyard_dashboard.assets import Assets

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not `no-referrer`: browsers would not send the origin either, and SessionGuard checks it.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""The headers of every response."""

MAX_DISPLAYED: Final = 20_000
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class ExternalLinks:
    """The URLs of other web pages, for browsers. Empty: there is none."""

    mlflow_url: str = ""
    grafana_url: str = ""


class Pages:
    """Renders pages and parts of pages. One per process: it caches templates."""

    def __init__(self, assets: Assets, external: ExternalLinks) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals |= {"asset": assets.url, "external": external, "most_counted": MOST_COUNTED}
        filters = (cut, cut_tight, preview, path_segment, money, number, seconds, short_id, display, moment, utc)
        self._templates.filters |= {function.__name__: function for function in filters}
        self._parts: Any = self._templates.get_template("parts.html").module

    def page(self, request: Request, name: str, *, status: int = 200, **values: Any) -> Response:
        """A whole page, with the user who is logged in."""
        return html(self.text(f"{name}.html", caller=caller_of(request), path=request.url.path, **values), status)

    def part(self, name: str, *values: Any) -> str:
        """The HTML of a macro in `parts.html`."""
        return str(getattr(self._parts, name)(*values)).strip()

    def text(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(values)


def html(text: str, status: int = 200) -> Response:
    # A model's reply may contain halves of surrogate pairs, which UTF-8 can't encode.
    return PacedResponse(text.encode(errors="replace"), status, media_type="text/html")


def caller_of(request: Request) -> Caller | None:
    """The user who is logged in; None on public pages."""
    caller: Caller | None = request.scope.get("state", {}).get("caller")
    return caller


def display(value: Any) -> str:
    """A value of the state as readable text."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return cut(text, MAX_DISPLAYED)


def cut(text: str, length: int) -> str:
    """The first `length` characters of a text, and the number of characters that are missing."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length:,} more characters)"


def cut_tight(text: str, length: int) -> str:
    """The text, cut to at most `length` characters. Unlike `cut`, it doesn't show how many are missing."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def preview(outputs: Mapping[str, Any]) -> str:
    """The beginning of a step's outputs, in one line."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in outputs.items()}
    line = " · ".join(f"{name}: {text}"[:200] for name, text in texts.items())
    return cut_tight(" ".join(line.split()), 110)


def short_id(run_id: str) -> str:
    """The end of a run's id, which distinguishes runs: an id begins with the time, and its end is random."""
    return run_id[-8:]


def number(value: int | None) -> str:
    """A number with thousands separators; None: `unknown`."""
    return "unknown" if value is None else f"{value:,}"


def money(value: Decimal | None) -> str:
    """US dollars. A small cost is never rounded to 0."""
    if value is None:
        return "unknown"
    if 0 < value < Decimal("0.0001"):
        return "< $0.0001"
    if value == 0:
        return "$0"
    return f"${value:,.4f}"


def path_segment(name: str) -> str:
    """A name, encoded as a segment of a URL's path."""
    return quote(name, safe="")


def seconds(duration: float | timedelta) -> str:
    """A duration, such as `2.5 s`. A float: in seconds."""
    s = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if s < 1:
        return f"{s * 1000:.0f} ms"
    if s < 60:
        return f"{s:.1f} s"
    minutes, rest = divmod(int(s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(at: datetime) -> str:
    """A time, until a script replaces it by the browser's local time. Of the same length, so that nothing moves."""
    return at.strftime("%b %d %H:%M:%S")


def utc(at: datetime) -> str:
    """A time for the `datetime` of a `time` element."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
