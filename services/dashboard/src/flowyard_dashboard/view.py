"""A view: the parts of a page that a stream updates, each with an id of its own.

The same code makes the views of a page and of its stream. The page sends the digest of its view when it opens the
stream; so after a lost connection, the stream knows whether it must send everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a list by their ids. `grows`: where new rows are added. `id`, `tag`: of the list's element."""

    id: str
    tag: Literal["tbody", "ol"]
    grows: Literal["above", "below"]
    rows: Mapping[str, str]

    @property
    def html(self) -> Markup:
        return Markup("".join(self.rows.values()))  # noqa: S704 - made by our templates


@dataclass(frozen=True, slots=True)
class View:
    """`sections`: elements by their ids, which are replaced as a whole. `lists`: are updated row by row."""

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


def full_update(view: View) -> str:
    """HTML for htmx that updates a page from any state to this view."""
    return "".join([*map(_replace, view.sections.values()), *map(_refill, view.lists)])


def difference(previous: View, current: View) -> str:
    """HTML for htmx that updates a page from the previous view to the current one; empty if they are equal."""
    changed = [_replace(html) for name, html in current.sections.items() if previous.sections.get(name) != html]
    lists = [part for old, new in zip(previous.lists, current.lists, strict=True) for part in _changes(old, new)]
    return "".join([*changed, *lists])


def _changes(previous: Rows, current: Rows) -> Iterator[str]:
    added = [name for name in current.rows if name not in previous.rows]
    kept = [name for name in previous.rows if name in current.rows]
    expected = [*added, *kept] if current.grows == "above" else [*kept, *added]
    if expected != list(current.rows) or not kept:
        if list(current.rows.items()) != list(previous.rows.items()):
            yield _refill(current)
        return
    for name in previous.rows:
        if name not in current.rows:
            # In a template, because browsers drop a row outside of a table.
            yield f'<template><{_row_tag(current)} id="{name}" hx-swap-oob="delete"></{_row_tag(current)}></template>'
        elif previous.rows[name] != current.rows[name]:
            yield f"<template>{_replace(current.rows[name])}</template>"
    if added:
        where = "afterbegin" if current.grows == "above" else "beforeend"
        yield _insert(current, where, "".join(current.rows[name] for name in added))


def _replace(html: str) -> str:
    """Marks the first tag, so that htmx replaces the element with the same id."""
    return html.replace(" ", ' hx-swap-oob="true" ', 1)


def _refill(rows: Rows) -> str:
    return _insert(rows, "innerHTML", rows.html)


def _insert(rows: Rows, where: str, html: str) -> str:
    return f'<template><{rows.tag} hx-swap-oob="{where}:#{rows.id}">{html}</{rows.tag}></template>'


def _row_tag(rows: Rows) -> str:
    return "tr" if rows.tag == "tbody" else "li"
