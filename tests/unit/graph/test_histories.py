"""Runs that releases recorded lead to the same states, decisions and events in this one."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from support import histories
from support.histories import FOLDER, SHAPES, check, main, read

_FILES: Final = sorted(FOLDER.rglob("*.json"))


@pytest.mark.parametrize("path", _FILES, ids=[f"{path.parent.name}/{path.stem}" for path in _FILES])
def test_each_part_of_a_recorded_run_leads_to_what_was_recorded(path: Path) -> None:
    asyncio.run(check(read(json.loads(path.read_text()))))


def test_each_release_has_recorded_all_shapes_that_it_knew() -> None:
    releases = {path.parent.name for path in _FILES}
    assert version("flowyard") in releases
    assert {path.stem for path in _FILES if path.parent.name == version("flowyard")} == SHAPES.keys()


def test_what_a_release_has_recorded_is_not_recorded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "FOLDER", tmp_path)
    (tmp_path / version("flowyard")).mkdir()
    with pytest.raises(SystemExit, match="never changed"):
        main()
