"""Outputs of runs and steps that are too large to be read with the rest."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from flowyard.errors.requests import TooLarge, UnknownOutput
from flowyard.large_json import loads, parts
from flowyard.runs.events import StepId
from flowyard.runs.large_values import json_bytes, large_of
from flowyard.storage.database import Database
from flowyard.storage.rows import place_of

WHOLE: Final = 256 * 1024
"""Bytes of JSON: outputs of a run that have no more are read with the run."""
MOST: Final = 64 * 1024 * 1024
"""Bytes of JSON: outputs that have more aren't read at all. Runs of earlier versions may have them."""
_REMEMBERED: Final = 64


@dataclass(frozen=True, slots=True)
class Parted:
    """`kept`: the small outputs; `large`: by name, the bytes of the others."""

    kept: Mapping[str, Any]
    large: Mapping[str, int]


class LargeOutputs:
    """Reads large outputs, of one run at a time: parsing them may take a hundred megabytes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading = asyncio.Semaphore(1)
        self._parted: OrderedDict[tuple[UUID, int], Parted] = OrderedDict()

    async def parted(self, run_id: UUID, last_seq: int) -> Parted:
        """The small outputs of a run, and the sizes of the large ones. `last_seq`: the number of its last event."""
        key = run_id, last_seq
        async with self._reading:
            if key not in self._parted:
                text = await self._database.value(_OF_RUN, run_id, MOST)
                self._parted[key] = await asyncio.to_thread(_parted, text) if text is not None else Parted({}, {})
                while len(self._parted) > _REMEMBERED:
                    self._parted.popitem(last=False)
            self._parted.move_to_end(key)
            return self._parted[key]

    async def value(self, run_id: UUID, name: str | None, step: StepId | None) -> bytes:
        """JSON: an output of the run, or of a step; without a name, all of them. Raises UnknownOutput, TooLarge."""
        place = place_of(step) if step is not None else ()
        async with self._reading:
            row = await self._database.row(_STEP if step is not None else _RUN, run_id, MOST, *place)
            if row is None or row["bytes"] is None:
                raise UnknownOutput(name or "outputs")
            if row["outputs"] is None:
                raise TooLarge("the outputs", limit=MOST)
            if name is None:
                return str(row["outputs"]).encode()
            return await asyncio.to_thread(_value, row["outputs"], name)


def _parted(text: str) -> Parted:
    outputs = loads(text)
    large = large_of({name: json_bytes(value) for name, value in outputs.items()})
    return Parted({name: value for name, value in outputs.items() if name not in large}, large)


def _value(text: str, name: str) -> bytes:
    outputs = loads(text)
    if name not in outputs:
        raise UnknownOutput(name)
    return "".join(parts(outputs[name])).encode()


_OF_RUN: Final = "SELECT outputs::text FROM runs WHERE id = $1 AND octet_length(outputs::text) <= $2"
_SIZED: Final = (
    "octet_length(outputs::text) AS bytes, CASE WHEN octet_length(outputs::text) <= $2 THEN outputs::text END"
)
_RUN: Final = f"SELECT {_SIZED} AS outputs FROM runs WHERE id = $1"  # noqa: S608  # a constant
_STEP: Final = f"""
SELECT {_SIZED} AS outputs FROM steps
WHERE run_id = $1 AND (node, visit, item) = ($3, $4, $5) AND kind = 'step'
"""  # noqa: S608  # a constant
