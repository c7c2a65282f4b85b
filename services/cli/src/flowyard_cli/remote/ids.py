"""Finds runs by their ids, or by the beginnings of ids."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from flowyard.api.client import Client
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import UnknownRun

LEAST: Final = 6
_BEGINNING: Final = re.compile(r"[0-9a-f]{6,32}")
_DIGITS: Final = 32


class AmbiguousRun(FlowyardError, code="ambiguous_run"):
    """The ids of several runs begin like this, as those of runs that were submitted within seconds do."""

    def __init__(self, text: str) -> None:
        super().__init__(f"several run ids begin with '{text}': write more of its characters")


def find_run(client: Client, text: str) -> UUID:
    """The id of the run. Raises UnknownRun, AmbiguousRun, and what Client raises."""
    digits = text.lower().replace("-", "")
    if not _BEGINNING.fullmatch(digits):
        raise UnknownRun(text, hint=f"an id is a UUID; its first {LEAST} characters or more are enough")
    if len(digits) == _DIGITS:
        return UUID(digits)
    # Ids grow with time, and runs come newest first: so ids with the same beginning come together.
    above = UUID(digits.ljust(_DIGITS, "f"))
    matches = [run.id for run in client.runs(before=above, most=2) if run.id.hex.startswith(digits)]
    if not matches:
        raise UnknownRun(text)
    if len(matches) > 1:
        raise AmbiguousRun(text)
    return matches[0]
