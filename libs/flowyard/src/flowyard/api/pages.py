"""Lists come in pages. A page's `next_cursor` is the `cursor` of the next one."""

from __future__ import annotations

from typing import Annotated, Final, Generic, TypeVar

from pydantic import BaseModel, Field

T = TypeVar("T")

DEFAULT_LIMIT: Final = 50
MOST: Final = 200
"""How many items a page may have."""


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: Annotated[
        str | None, Field(description="Give it as `cursor` to see more; null: there is no more.")
    ] = None
