"""`flowyard audit`, against a running gateway and registry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.storage.database import Database
from support.remote import Remote, open_remote


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.applied()
        await remote.cli("run", "poem", "-i", "topic=rain", "--detach")
        await remote.cli("keys", "create", "ci", "--scope", "run")
        yield remote


def lines_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


async def test_the_log_shows_who_applied_ran_and_made_keys(remote: Remote) -> None:
    shown = (await remote.cli("audit")).out.splitlines()
    assert shown[0].split() == ["number", "at", "act", "who", "key", "address", "workflow", "objects"]
    assert [line.split()[3] for line in shown[1:]] == ["key.created", "run.submitted", "workflow.applied"]
    key_id = remote.key.split("_")[1]
    for line in shown[1:]:
        assert key_id in line
        assert " 127.0.0.1 " in line


async def test_an_export_has_a_line_per_act_the_oldest_first_and_can_be_narrowed(remote: Remote) -> None:
    lines = lines_of((await remote.cli("audit", "--json")).out)
    assert [line["act"] for line in lines] == ["workflow.applied", "run.submitted", "key.created"]
    assert list(lines[0])[-2:] == ["previous", "hash"]
    run_id = lines[1]["objects"][0]
    for words, count in (
        ("--act run", 1), ("--act run.submitted", 1), ("--act agent", 0), ("--workflow poem", 2), ("--since 1h", 3),
        ("--until 1h", 0), ("--key aaaaaaaa", 0), (f"--object {run_id}", 1), ("--limit 2", 2),
    ):  # fmt: skip
        assert len(lines_of((await remote.cli("audit", "--json", *words.split())).out)) == count, words
    assert (await remote.cli("audit", "--act", "agent")).out == "nothing was written down\n"


async def test_a_log_is_verified_in_the_stack_and_in_a_file(remote: Remote) -> None:
    said = (await remote.cli("audit", "verify")).out.splitlines()
    assert said[0] == "3 rows fit together, from 1 to 3"
    (remote.folder / "log.jsonl").write_text((await remote.cli("audit", "--json")).out)
    nobody = {"FLOWYARD_URL": "", "FLOWYARD_API_KEY": ""}
    of_file = await remote.cli("audit", "verify", "log.jsonl", "--known", said[1], **nobody)
    assert (of_file.code, of_file.out.splitlines()) == (0, said)
    await remote.cli("keys", "create", "more", "--scope", "run")
    assert (await remote.cli("audit", "verify", "--known", said[1])).code == 0
    unknown = await remote.cli("audit", "verify", "--known", f"3:{'0' * 64}")
    assert (unknown.code, "isn't there, or was changed" in unknown.err) == (1, True)


async def test_a_change_in_the_table_and_in_a_file_is_found(remote: Remote, database: Database) -> None:
    path = remote.folder / "log.jsonl"
    lines = (await remote.cli("audit", "--json")).out.splitlines()
    for name, changed in {
        "row 2 was changed": [lines[0], lines[1].replace("127.0.0.1", "127.0.0.2"), lines[2]],
        "after row 1 comes row 3": [lines[0], lines[2]],
    }.items():
        path.write_text("\n".join(changed) + "\n")
        found = await remote.cli("audit", "verify", "log.jsonl")
        assert (found.code, name in found.err) == (1, True), found.err
    path.write_text("{}\n")
    no_log = await remote.process("audit", "verify", "log.jsonl")
    assert (no_log.code, "log.jsonl:1: this is no row of an audit log" in no_log.err) == (2, True), no_log.err
    await database.execute("UPDATE audit SET who = 'somebody else' WHERE number = 2")
    found = await remote.cli("audit", "verify", "--json")
    assert (found.code, json.loads(found.out)["valid"]) == (1, False)
    assert "row 2 was changed" in json.loads(found.out)["problem"]


async def test_the_log_is_for_administrators(remote: Remote) -> None:
    key = (await remote.cli("keys", "create", "ops", "--scope", "run", "--scope", "write")).out.strip()
    refused = await remote.cli("audit", FLOWYARD_API_KEY=key)
    assert (refused.code, "[forbidden]" in refused.err) == (2, True)
