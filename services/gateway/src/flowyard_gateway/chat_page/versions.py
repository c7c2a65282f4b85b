"""The versions of a workflow that a conversation writes: which turn has which, and from which one it went on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowyard.access import Caller
from flowyard.drafts.blocks import documents_in
from flowyard.runs.conversations import SessionSummary, Turn
from flowyard_gateway.chat_page.view import read_turns, reply_of
from flowyard_gateway.parts import GatewayParts

_MOST_TURNS: Final = 500
"""How far back versions are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftVersion:
    """A document that was written. `number`: as people count them; None: it is no version, since the reply broke off
    or was wrong until the run gave up.

    `reply`: the whole answer. `before`: the version that it changes.
    """

    number: int | None
    turn: Turn
    reply: str
    before: DraftVersion | None

    @property
    def document(self) -> str:
        """Exactly as it was written."""
        return documents_in(self.reply)[-1].text


async def read_version(parts: GatewayParts, caller: Caller, session: SessionSummary, turn: Turn) -> DraftVersion | None:
    """The version of a turn; None: its answer has no document."""
    turns: list[Turn] = []
    after = max(0, turn.number - _MOST_TURNS)
    while after < turn.number and (more := await read_turns(parts, caller.key_id, session, after=after)):
        turns += more
        after = more[-1].number
    versions = await asyncio.to_thread(versions_in, [each for each in turns if each.number <= turn.number])
    return versions[-1] if versions and versions[-1].turn.number == turn.number else None


def versions_in(turns: Sequence[Turn]) -> list[DraftVersion]:
    """All versions of a conversation, oldest first. `turns`: all of it, in order."""
    versions: list[DraftVersion] = []
    line: list[DraftVersion] = []
    """What the next turn would go on from, and what that has come from."""
    count = 0
    for turn in turns:
        if (replaced := turn.replaces) is not None:
            line = [version for version in line if version.turn.number < replaced]
        if not documents_in(reply := reply_of(turn)):
            continue
        is_whole = turn.status == "succeeded"
        count += is_whole
        before = line[-1] if line else None
        versions.append(DraftVersion(number=count if is_whole else None, turn=turn, reply=reply, before=before))
        if is_whole:
            line.append(versions[-1])
    return versions
