"""What LangGraph hands to every place of the graph of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flowyard.graph.marking import Branch
from flowyard.graph.walk import Walk


@dataclass(frozen=True, slots=True)
class RunContext:
    """`follow`: executes another branch, beside those that are executed already."""

    walk: Walk
    follow: Callable[[Branch], None]
