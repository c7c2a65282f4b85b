"""Pages of a list. The `next_cursor` of a page is the `cursor` of the request for the page after it."""

from __future__ import annotations

from typing import Annotated, Final, Generic, TypeVar

from pydantic import BaseModel, Field

T = TypeVar("T")

DEFAULT_LIMIT: Final = 50
MOST: Final = 200
"""How many items a page may have."""


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: Annotated[str | None, Field(description="The `cursor` of the next page; null: there is none")] = None
