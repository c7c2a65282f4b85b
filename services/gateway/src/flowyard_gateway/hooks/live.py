"""The triggers at the paths of webhooks, from Postgres, through a cache that never decides alone."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from flowyard.control.deliver import LiveTrigger, StaleTrigger
from flowyard.errors.requests import UnknownHook
from flowyard.language.reading.triggers import HOOK_PATH, LONGEST_PATH
from flowyard.language.triggers import Webhook
from flowyard.service.documents import Documents
from flowyard.storage.triggers import Triggers

_MOST: Final = 1000
_SHOWN: Final = 60
_PATH: Final = re.compile(HOOK_PATH)


class LiveHooks:
    """Webhooks by their paths. What is remembered of one may be out of date.

    So each request ends in one of two ways: the statement that starts its run checks that the trigger is still so, or
    `confirm` does.
    """

    def __init__(self, triggers: Triggers, documents: Documents) -> None:
        self._triggers = triggers
        self._documents = documents
        self._last: OrderedDict[str, LiveTrigger] = OrderedDict()

    async def at(self, path: str) -> LiveTrigger:
        """Raises UnknownHook; InvalidDocument if this version of Flowyard refuses what an older one accepted."""
        if path not in self._last:
            self._last[path] = await self._read(path)
            while len(self._last) > _MOST:
                self._last.popitem(last=False)
        return self._last[path]

    async def confirm(self, path: str, live: LiveTrigger) -> None:
        """Raises StaleTrigger if the trigger isn't so any more."""
        if await self._triggers.by_path(path) != live.stored:
            raise StaleTrigger

    def forget(self, path: str) -> None:
        self._last.pop(path, None)

    async def _read(self, path: str) -> LiveTrigger:
        # What can't be a path isn't looked up: Postgres doesn't take each text.
        is_path = len(path) <= LONGEST_PATH and _PATH.fullmatch(path)
        stored = await self._triggers.by_path(path) if is_path else None
        if stored is None:
            raise UnknownHook(path[:_SHOWN])
        return LiveTrigger(stored, await self._documents.get(stored.workflow, stored.definition, stored.digest))


def webhook_of(live: LiveTrigger) -> Webhook:
    """Of a trigger that was found by its path, which no other kind has."""
    source = live.trigger.source
    if not isinstance(source, Webhook):
        raise UnknownHook(live.stored.path or "")
    return source
