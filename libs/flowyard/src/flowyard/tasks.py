"""Ends tasks that others have begun."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_AGAIN_S: Final = 1.0


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Returns when all have ended; an error of theirs stays in them.

    It cancels again and again: before Python 3.12, `asyncio.wait_for`, which libraries use, drops a cancellation that
    comes in the same moment as its result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
