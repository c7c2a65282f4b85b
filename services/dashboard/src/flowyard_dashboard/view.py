"""What a page shows and a stream keeps up to date: parts of HTML, each with an id of its own.

A page and its stream make the same view by the same code. The page tells its stream what it shows by the view's digest;
so a stream that begins anew, after whatever was missed, knows whether it has to send everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a list by their ids. `grows`: where new ones come. `tag`: of the list, which bears `id`."""

    id: str
    tag: Literal["tbody", "ol"]
    grows: Literal["above", "below"]
    rows: Mapping[str, str]

    @property
    def html(self) -> Markup:
        return Markup("".join(self.rows.values()))  # noqa: S704 - made by our templates


@dataclass(frozen=True, slots=True)
class View:
    """`sections`: elements by their ids, replaced as a whole. `lists`: row by row."""

    sections: Mapping[str, str] = field(default_factory=dict)
    lists: Sequence[Rows] = ()

    @property
    def digest(self) -> str:
        parts = [*self.sections.values(), *(row for rows in self.lists for row in rows.rows.values())]
        return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:32]

    def section(self, name: str) -> Markup:
        return Markup(self.sections[name])  # noqa: S704 - made by our templates

    def rows(self, name: str) -> Markup:
        return next(rows.html for rows in self.lists if rows.id == name)


def everything(view: View) -> str:
    """As htmx swaps it in, wherever the page is."""
    return "".join([*map(_replaced, view.sections.values()), *map(_refilled, view.lists)])


def difference(before: View, now: View) -> str:
    """What turns one into the other, as htmx swaps it in; empty if they are equal."""
    changed = [_replaced(html) for name, html in now.sections.items() if before.sections.get(name) != html]
    lists = [part for old, new in zip(before.lists, now.lists, strict=True) for part in _moved(old, new)]
    return "".join([*changed, *lists])


def _moved(before: Rows, now: Rows) -> Iterator[str]:
    added = [name for name in now.rows if name not in before.rows]
    kept = [name for name in before.rows if name in now.rows]
    expected = [*added, *kept] if now.grows == "above" else [*kept, *added]
    if expected != list(now.rows) or not kept:
        if list(now.rows.items()) != list(before.rows.items()):
            yield _refilled(now)
        return
    for name in before.rows:
        if name not in now.rows:
            # A template: outside of a table, a row would be no element.
            yield f'<template><{_row_tag(now)} id="{name}" hx-swap-oob="delete"></{_row_tag(now)}></template>'
        elif before.rows[name] != now.rows[name]:
            yield f"<template>{_replaced(now.rows[name])}</template>"
    if added:
        where = "afterbegin" if now.grows == "above" else "beforeend"
        yield _put(now, where, "".join(now.rows[name] for name in added))


def _replaced(html: str) -> str:
    """Its first tag says that the element takes the place of the one with its id."""
    return html.replace(" ", ' hx-swap-oob="true" ', 1)


def _refilled(rows: Rows) -> str:
    return _put(rows, "innerHTML", rows.html)


def _put(rows: Rows, where: str, html: str) -> str:
    return f'<template><{rows.tag} hx-swap-oob="{where}:#{rows.id}">{html}</{rows.tag}></template>'


def _row_tag(rows: Rows) -> str:
    return "tr" if rows.tag == "tbody" else "li"
