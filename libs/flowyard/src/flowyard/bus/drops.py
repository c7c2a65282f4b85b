"""Messages that this process has dropped: each is counted, some are logged."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

DropReason: TypeAlias = Literal[
    "outbox_full", "not_sent", "not_permitted", "too_large", "unencodable", "undecodable", "slow_consumer",
    "handler_failed",
]  # fmt: skip
OnDrop: TypeAlias = Callable[[DropReason, str], None]
"""Called with the reason and the message's kind, such as `RunEvents`. Both have few values."""

_LOG_EVERY_S: Final = 10.0
_log = logging.getLogger(__name__)


class Drops:
    def __init__(self, on_drop: OnDrop) -> None:
        self._on_drop = on_drop
        self._unlogged: Counter[tuple[DropReason, str]] = Counter()
        self._logged_at: dict[tuple[DropReason, str], float] = {}

    def add(self, reason: DropReason, kind: str, detail: str = "") -> None:
        """`detail` is logged, so it must hold nothing of the message's content."""
        self._on_drop(reason, kind)
        key = reason, kind
        self._unlogged[key] += 1
        now = time.monotonic()
        if now - self._logged_at.get(key, -_LOG_EVERY_S) < _LOG_EVERY_S:
            return
        self._logged_at[key] = now
        facts = {"reason": reason, "kind": kind, "count": self._unlogged.pop(key), "detail": detail}
        _log.warning("bus message dropped", extra=facts)
