"""Which tools an installation has: those that are built in, and those that its executors have announced."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace

from flowyard.language.installation import Installation
from flowyard.language.tools import ToolFacts
from flowyard.storage.announced_tools import Announced, AnnouncedSource

log = logging.getLogger(__name__)


def with_announced(installation: Installation, announced: Announced) -> Installation:
    """The installation with the tools of its executors. Those that not all of them have, or not all alike, are marked.

    No executor can change what is known of a tool that is built in.
    """
    known = dict(installation.tools or {})
    taken = {facts.wire_name for facts in known.values()}
    where: dict[str, dict[str, ToolFacts]] = {}
    for announcement in announced.announcements:
        for facts in _facts(announcement):
            if facts.wire_name not in taken:
                where.setdefault(facts.name, {}).setdefault(announcement.executor, facts)
    uneven: dict[str, str] = {}
    for name, by_executor in where.items():
        known[name] = next(iter(by_executor.values()))
        if (why := _why_uneven(by_executor, announced)) is not None:
            uneven[name] = why
    return replace(installation, tools=known, uneven_tools=uneven)


def _why_uneven(by_executor: Mapping[str, ToolFacts], announced: Announced) -> str | None:
    there = announced.executors
    having = there & by_executor.keys()
    if len(having) < len(there):
        return f"only {len(having)} of {len(there)} executors have it"
    if len({repr(by_executor[executor].data) for executor in having}) > 1:
        return "it isn't the same at all executors"
    return None


def _facts(announcement: AnnouncedSource) -> Iterator[ToolFacts]:
    for data in announcement.tools:
        try:
            yield ToolFacts.from_data(data)
        except ValueError as error:
            # Of an executor of another version, or one that was broken into.
            facts = {"executor": announcement.executor, "source": announcement.source}
            log.warning("an announced tool is left out: %s", error, extra=facts)
