"""Tasks of one run that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


class Together:
    """Tasks of which the first that raises ends all. `add` may be called while they run."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins it, unless one of the others has raised: then nothing begins any more."""
        try:
            self._group.create_task(work)
        except RuntimeError:
            work.close()

    async def run(self, works: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Returns when all have ended. Raises what the first of them raised."""
        try:
            async with self._group:
                for work in works:
                    self.add(work)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None


async def run_together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Returns when all have ended. The first that raises ends the others, and its error is raised."""
    await Together().run(works)
