"""What the installation adds to a document's checks: what it knows of models, and what it allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flowyard.language.nodes import ModelSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """`has_price`: whether the cost of a model's calls is known before they are made."""

    has_price: Callable[[ModelSettings], bool] = lambda _: True


ANY: Final = Installation()
"""Refuses nothing: for documents that are only read."""
