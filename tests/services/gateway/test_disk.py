"""What is said when Postgres can store nothing because its disk is full."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from flowyard.errors.services import DiskFull
from flowyard.storage.database import Database
from services.gateway.conftest import Starting

FULL = """
DO $$ BEGIN RAISE EXCEPTION 'could not extend file "base/1": No space left on device' USING ERRCODE = '53100'; END $$
"""


class Usage(NamedTuple):
    total: int
    used: int
    free: int


async def test_a_statement_that_the_disk_has_no_space_for_says_so(database: Database) -> None:
    assert not database.is_full
    with pytest.raises(DiskFull, match="its disk is full"):
        await database.execute(FULL)
    assert database.is_full


@pytest.mark.parametrize(("free", "status", "detail"), [(90, 200, "91% full"), (19, 503, "its disk is full")])
async def test_a_gateway_with_a_full_disk_is_not_ready_and_measures_it(
    starting: Starting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: int, detail: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000, 1000 - free, free))
    async with starting(disk=str(tmp_path)) as gateway:
        answer = await gateway.client.get("/health/ready")
        metrics = (await gateway.client.get("/metrics")).text
    (check,) = [check for check in answer.json()["checks"] if check["name"] == "disk"]
    assert (answer.status_code, check["ok"]) == (status, status == 200)
    assert detail in check["detail"]
    assert f"flowyard_disk_free_bytes {free}.0" in metrics
    assert "flowyard_disk_size_bytes 1000.0" in metrics


@pytest.mark.parametrize("folder", ["", "/nowhere/at/all"])
async def test_without_a_folder_the_disk_is_unknown_and_not_empty(starting: Starting, folder: str) -> None:
    async with starting(disk=folder) as gateway:
        answer = await gateway.client.get("/health/ready")
        metrics = (await gateway.client.get("/metrics")).text
    assert answer.status_code == 200
    assert "flowyard_disk_free_bytes NaN" in metrics
