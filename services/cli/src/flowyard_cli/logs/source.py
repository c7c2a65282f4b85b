"""Where lines come from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence, Set
from typing import Protocol, TypeAlias

from flowyard.errors import FlowyardError
from flowyard_cli.logs.line import Line, Wanted

Hear: TypeAlias = Callable[[Line], None]


class NoLogs(FlowyardError):
    """What the services have written isn't here, or can't be read."""

    code = "no_logs"

    def __init__(self, why: str) -> None:
        super().__init__(f"can't read the services' logs: {why}")


class Source(Protocol):
    """The lines of all processes of a stack. `where`: for people."""

    where: str

    @property
    def names(self) -> Set[str]:
        """The processes that have been heard of."""

    def newest(self, wanted: Wanted, most: int | None) -> Sequence[Line]:
        """Those that are wanted, in any order; `most`: no more than so many of each process. Raises NoLogs."""

    def follow(self, wanted: Wanted, hear: Hear, stop: threading.Event) -> None:
        """Tells what comes after what `newest` has found, until `stop` is set. Raises NoLogs."""
