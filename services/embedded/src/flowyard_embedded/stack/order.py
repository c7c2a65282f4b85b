"""What `flowyard up` is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flowyard_embedded.stack.place import Place
from flowyard_embedded.stack.services import Services


@dataclass(frozen=True)
class Order:
    """`port`: of the gateway; the dashboard has the next one. 0: any for both.

    `detached`: called when the stack is healthy and both output streams have been let go of. None: it keeps them.
    """

    place: Place
    executors: int
    port: int
    json_logs: bool
    services: Services
    detached: Callable[[], None] | None = None
