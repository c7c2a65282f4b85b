"""Renders templates. All values are escaped, except HTML that was rendered by our own templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from flowyard.access import Caller
from flowyard.web.pages.assets import Assets
from flowyard.web.pages.filters import FILTERS
from flowyard.web.pages.site import Site
from flowyard.web.slow_readers import PacedResponse

_SHARED: Final = Path(__file__).with_name("templates")


class Pages:
    """Renders pages and parts of pages. One per process: it caches templates.

    `folder`: of the service's own templates, which come before the shared ones. It has a `base.html`, on which the
    shared pages are built, and `parts.html`, whose macros `part` renders. `known`: what all templates know.
    """

    def __init__(
        self,
        site: Site,
        assets: Assets,
        folder: Path,
        *,
        known: Mapping[str, object],
        filters: Sequence[Callable[..., Any]] = (),
    ) -> None:
        self._templates = Environment(
            loader=FileSystemLoader([folder, _SHARED]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals |= {"site": site, "asset": assets.url, **known}
        self._templates.filters |= {function.__name__: function for function in (*FILTERS, *filters)}

    @cached_property
    def _parts(self) -> Any:
        # Compiled for the first page: a gateway that serves only its API starts sooner by a third.
        return self._templates.get_template("parts.html").module

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
