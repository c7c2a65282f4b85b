"""The page on security says only what a test keeps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in PAGE.partition("## What was tried")[2].splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| tried"))
]


def test_there_is_a_table_of_what_was_tried() -> None:
    assert len(ROWS) > 20
    assert {len(row) for row in ROWS} == {3}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_row_names_a_test_that_exists(row: list[str]) -> None:
    match = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2])
    assert match is not None, row[2]
    file, name = match.groups()
    source = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
    assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), row[2]


def test_contributors_and_users_find_the_page() -> None:
    assert "docs/security.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
