"""`flowyard apply` and `flowyard workflows`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.remote import POEM, Remote, open_remote


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        (tmp_path / "bad.yaml").write_text(POEM.replace("{topic}", "{topc}"))
        (tmp_path / "other.yaml").write_text(POEM.replace("name: poem,", "name: other,"))
        (tmp_path / "longer.yaml").write_text(POEM.replace("default: 3", "default: 30"))
        yield remote


async def test_applied_documents_are_workflows_and_applied_again_they_are_unchanged(remote: Remote) -> None:
    first = await remote.process("apply", "poem.yaml", "other.yaml")
    assert (first.code, first.out) == (0, "poem: revision 1, created\nother: revision 1, created\n")
    again = json.loads((await remote.cli("apply", "poem.yaml", "--json")).out)
    assert [(one["file"], one["name"], one["created"]) for one in again["applied"]] == [("poem.yaml", "poem", False)]


async def test_problems_are_those_that_validate_prints_and_nothing_is_applied(remote: Remote) -> None:
    ended = await remote.cli("apply", "poem.yaml", "bad.yaml")
    assert ended.code == 2
    warning = "poem.yaml:5:5: warning: nothing reads the input 'lines' [unread-input]\n"
    assert ended.out == f"{warning}poem.yaml: ok\n" + (await remote.cli("validate", "bad.yaml")).out
    assert "no workflows yet" in (await remote.cli("workflows")).out
    as_json = json.loads((await remote.cli("apply", "bad.yaml", "--json")).out)
    assert [(one["file"], one["line"], one["code"]) for one in as_json["problems"]] == [
        ("bad.yaml", 5, "unread-input"),
        ("bad.yaml", 9, "unknown-field"),
    ]


async def test_workflows_are_listed_with_their_last_run(remote: Remote) -> None:
    await remote.cli("apply", "poem.yaml", "other.yaml")
    await remote.cli("run", "poem", "-i", "topic=rain", "--detach")
    lines = (await remote.cli("workflows")).out.splitlines()
    assert [line.split()[:2] for line in lines] == [["workflow", "revision"], ["other", "1"], ["poem", "1"]]
    assert lines[1].endswith(" -")
    assert "queued, " in lines[2]
    listed = json.loads((await remote.cli("workflows", "list", "--search", "oth", "--json")).out)
    assert [item["name"] for item in listed["items"]] == ["other"]


async def test_a_workflow_is_shown_with_its_inputs_and_its_document_as_it_was_written(remote: Remote) -> None:
    await remote.applied()
    shown = (await remote.cli("workflows", "show", "poem")).out
    assert "About anything" in shown
    assert "lines  int   default 3" in shown
    assert (await remote.cli("workflows", "show", "poem", "--document")).out == POEM


async def test_every_node_of_a_workflow_is_shown_whether_it_calls_a_model_or_not(
    remote: Remote, tmp_path: Path
) -> None:
    fields = "flow: {name: set}\nstate: {fields: {topic: {type: str, required: true}, title: str}}\n"
    nodes = "nodes:\n  - {id: check, assert: topic != ''}\n  - {id: fill, set: {title: 'On {topic}'}}\n"
    (tmp_path / "set.yaml").write_text(fields + nodes)
    await remote.cli("apply", str(tmp_path / "set.yaml"))
    lines = (await remote.cli("workflows", "show", "set")).out.splitlines()
    rows = [line.split() for line in lines[-3:]]
    assert rows == [["node", "kind", "model", "writes"], ["check", "assert", "-", "-"], ["fill", "set", "-", "title"]]


async def test_a_rollback_is_a_revision_with_the_older_document(remote: Remote) -> None:
    await remote.cli("apply", "poem.yaml")
    await remote.cli("apply", "longer.yaml")
    diff = (await remote.cli("workflows", "diff", "poem")).out
    assert "-    lines: {type: int, default: 3}\n+    lines: {type: int, default: 30}" in diff
    rolled_back = await remote.cli("workflows", "rollback", "poem", "1")
    assert rolled_back.out == "poem: revision 3, with the document of revision 1\n"
    rows = (await remote.cli("workflows", "revisions", "poem")).out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]
    assert (await remote.cli("workflows", "diff", "poem", "--from", "1")).out.startswith("poem: nothing differs")


async def test_a_workflow_with_open_runs_is_deleted_by_force_only(remote: Remote) -> None:
    await remote.applied()
    await remote.cli("run", "poem", "-i", "topic=rain", "--detach")
    refused = await remote.cli("workflows", "delete", "poem")
    assert refused.code == 2
    assert "[workflow_in_use]" in refused.err
    assert (await remote.cli("workflows", "delete", "poem", "--force")).out == "poem: deleted, 1 run cancelled\n"
    gone = await remote.cli("workflows", "show", "poem", "--json")
    assert (gone.code, json.loads(gone.out)["error"]["code"]) == (2, "unknown_workflow")
