"""What LangGraph's channels hold: a branch of a run on its way to the next place where it has something to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from flowyard.graph.marking import Branch
from flowyard.graph.walk import Walk


@dataclass(frozen=True, slots=True)
class RunContext:
    """`follow`: executes another branch, beside those that are executed already."""

    walk: Walk
    follow: Callable[[Branch], None]


class Arrival(NamedTuple):
    """A branch at the beginning of a line, by the name of its first place."""

    line: str
    branch: Branch
    context: RunContext
