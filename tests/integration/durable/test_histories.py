"""What a release records of its runs, for those after it, can be replayed."""

from __future__ import annotations

import json

import pytest

from support.attempts import Attempts
from support.histories import SHAPES, check, read, record
from support.stored import Stored


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_run_that_is_recorded_now_is_replayed_now(shape: str, stored: Stored, attempts: Attempts) -> None:
    data = json.loads(json.dumps(await record(shape, stored, attempts)))
    await check(read(data))
