"""`flowyard migrate --keys-from`: keys that were made before there was a database to keep them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flowyard.access import KEY_RANDOM, new_key
from flowyard.storage.database import open_database
from flowyard.storage.keys import Keys
from support.cli import flowyard


async def test_keys_from_files_are_valid_and_a_revoked_one_stays_revoked(database_url: str, tmp_path: Path) -> None:
    key = new_key(os.urandom(KEY_RANDOM))
    (tmp_path / "metrics.read").write_text(f"{key.text}\n")
    env = {"FLOWYARD_DATABASE_URL": database_url}

    first = flowyard("migrate", "--keys-from", str(tmp_path), cwd=tmp_path, env=env)
    assert (first.code, first.out.splitlines()[1:]) == (
        0,
        [f"flowyard: key 'metrics' with the id {key.key_id}, made valid"],
    )
    async with open_database(database_url, service="tests") as database:
        caller = await Keys(database).verify(key.text)
        assert caller is not None
        assert (caller.name, sorted(caller.scopes)) == ("metrics", ["read"])
        again = flowyard("migrate", "--keys-from", str(tmp_path), cwd=tmp_path, env=env)
        assert again.out.splitlines()[1:] == [f"flowyard: key 'metrics' with the id {key.key_id}, as it was"]
        await Keys(database).revoke(key.key_id)
        again = flowyard("migrate", "--keys-from", str(tmp_path), cwd=tmp_path, env=env)
        assert f"key 'metrics' with the id {key.key_id}, NOT VALID: it was revoked" in again.out
        assert await Keys(database).verify(key.text) is None
    assert key.text not in first.out + first.err + again.out + again.err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.read", "hidden", "metrics.read: holds no API key"),
        (
            "metrics.root",
            "hidden",
            "metrics.root: should be called NAME.SCOPE, with a scope of read, run, write, admin",
        ),
        ("metrics", "hidden", "metrics: should be called NAME.SCOPE"),
    ],
)
def test_a_file_that_holds_no_key_is_named(name: str, text: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / name).write_text(text)
    env: dict[str, Any] = {"FLOWYARD_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}
    ended = flowyard("migrate", "--keys-from", str(folder), cwd=tmp_path, env=env)
    assert ended.code == 2
    assert said in ended.err
    assert "hidden" not in ended.err


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    env = {"FLOWYARD_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d"}
    ended = flowyard("migrate", "--keys-from", "nowhere", cwd=tmp_path, env=env)
    assert ended.code == 2
    assert "nowhere: no such file or directory" in ended.err
