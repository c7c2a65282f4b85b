"""When a notification is sent again. Pure.

The times are those that Standard Webhooks recommend:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MINUTE: Final = 60.0
_HOUR: Final = 60.0 * _MINUTE
PAUSES_S: Final = (
    5.0, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR,
)  # fmt: skip
"""After each try. The first one is made at once, so that there are ten, in a little more than three days."""
REPLY_PAUSES_S: Final = (1.0, 5.0, 20.0, _MINUTE, 3 * _MINUTE, 8 * _MINUTE)
"""Of replies to chats: who waits for one doesn't wait for days, and Discord takes it for 15 minutes."""
LONGEST_HOLD_S: Final = 24 * _HOUR
"""A receiver that wants to be left alone for longer is tried after this time."""
_JITTER: Final = 0.1


def pause_after(
    tries: int, *, retry_after_s: float | None, chance: float, pauses: Sequence[float] = PAUSES_S
) -> float | None:
    """Seconds until the next try, after `tries` that have failed. None: it was the last.

    `retry_after_s`: what the receiver demands. `chance`: from 0 to 1, so that what has failed together isn't sent again
    together.
    """
    if tries > len(pauses):
        return None
    pause = pauses[tries - 1] * (1 + _JITTER * chance)
    return max(pause, hold_of(retry_after_s))


def hold_of(retry_after_s: float | None) -> float:
    return min(retry_after_s or 0.0, LONGEST_HOLD_S)
