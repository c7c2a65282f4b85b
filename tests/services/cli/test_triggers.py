"""`flowyard triggers` and `flowyard hooks send`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest

from flowyard.webhooks.senders import Sender
from flowyard_cli import exits
from flowyard_cli.main import run_command
from support.hook_senders import SECRETS, document
from support.hooks import ASYMMETRIC, SEED, SYMMETRIC
from support.remote import Remote, open_remote

LOCAL = """\
flow: {name: issues}
state: {fields: {title: {type: str, required: true}, n: {type: int, default: 1}, reply: any}}
nodes: [{id: keep, set: {reply: "{title} {n}"}}]
triggers:
  opened:
    webhook: {path: issues, kind: github, secret: "${env:GITHUB_WEBHOOK_SECRET}"}
    when: headers['x-github-event'] == 'issues'
    inputs: {title: "{payload.title}", n: "{payload.n}"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "issues.yaml").write_text(LOCAL)
    (tmp_path / "p.json").write_text('{"title": "Crash", "n": 3}')
    return tmp_path


@pytest.fixture
async def remote(
    database_url: str, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Remote]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DISCORD_PRIVATE", SEED)
    monkeypatch.setenv("STANDARD_PRIVATE", ASYMMETRIC)
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        (tmp_path / "hooked.yaml").write_text(document())
        (tmp_path / "p.json").write_text('{"id": "evt_1"}')
        yield remote


def test_a_payload_is_shown_as_the_inputs_that_it_becomes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["triggers", "test", "issues.yaml", "--payload", "p.json"]
    assert run_command([*words, "--header", "X-GitHub-Event=issues"]) == exits.OK
    assert capsys.readouterr().out == 'opened: starts a run of issues with\n  title: "Crash"\n  n: 3\n'
    assert run_command([*words, "--header", "X-GitHub-Event=push", "--json"]) == exits.OK
    [result] = json.loads(capsys.readouterr().out)["results"]
    assert (result["outcome"], result["reason"]) == ("unmatched", "'headers['x-github-event'] == 'issues'' is false")
    assert run_command([*words, "--header", "X-GitHub-Event=ping"]) == exits.OK
    assert capsys.readouterr().out == "opened: answered: the sender only looks who is there\n"


def test_a_request_that_contains_no_message_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = 'kind: whatsapp, secret: "${env:META_APP_SECRET}", verify_token: "${env:META_VERIFY_TOKEN}"'
    (folder / "issues.yaml").write_text(LOCAL.replace('kind: github, secret: "${env:GITHUB_WEBHOOK_SECRET}"', secrets))
    (folder / "p.json").write_text('{"entry": [{"changes": [{"field": "messages", "value": {"statuses": []}}]}]}')
    assert run_command(["triggers", "test", "issues.yaml", "--payload", "p.json"]) == exits.OK
    assert capsys.readouterr().out == "opened: unmatched: the request contains no message\n"


def test_a_payload_that_cannot_be_mapped_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for payload, reason in (
        ('{"n": 3}', "payload has no 'title' (it has: n)"),
        ('{"title": "x", "n": "three"}', "n: expected int, got str 'three'"),
    ):
        (folder / "p.json").write_text(payload)
        words = ["triggers", "test", "issues.yaml", "--payload", "p.json", "--header", "x-github-event=issues"]
        assert run_command(words) == exits.WRONG_INPUT
        assert capsys.readouterr().out == f"opened: failed: {reason}\n"


def test_a_document_or_a_trigger_that_is_wrong_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["triggers", "test", "issues.yaml", "--payload", "p.json", "--trigger", "open"]) == 2
    assert "issues.yaml: no trigger 'open' (did you mean 'opened'?)" in capsys.readouterr().err
    assert run_command(["triggers", "test", "issues.yaml", "--payload", "none.json"]) == 2
    assert "none.json: no such file or directory" in capsys.readouterr().err
    assert run_command(["triggers", "test", "issues.yaml", "--payload", "p.json", "--header", "x"]) == 2
    assert "--header x: write NAME=VALUE" in capsys.readouterr().err
    (folder / "issues.yaml").write_text(LOCAL.replace("payload.title", "paylod.title"))
    assert run_command(["triggers", "test", "issues.yaml", "--payload", "p.json"]) == 2
    assert "did you mean 'payload'?" in capsys.readouterr().err
    (folder / "issues.yaml").write_text(LOCAL.partition("triggers:")[0])
    assert run_command(["triggers", "test", "issues.yaml", "--payload", "p.json"]) == 2
    assert "issues.yaml: no triggers" in capsys.readouterr().err


@pytest.mark.parametrize("sender", [sender for sender in get_args(Sender) if sender != "discord"])
async def test_each_kind_is_signed_as_the_trigger_wants_it(remote: Remote, sender: str) -> None:
    await remote.cli("apply", "hooked.yaml")
    sent = await remote.cli("hooks", "send", f"in/{sender}", "--payload", "p.json")
    assert sent.code == 0, sent.err
    assert sent.err.startswith("20")


async def test_keys_that_only_the_sender_has_are_named(remote: Remote) -> None:
    await remote.cli("apply", "hooked.yaml")
    refused = await remote.cli("hooks", "send", "in/discord", "--payload", "p.json")
    assert (refused.code, "name its variable with --secret-env" in refused.err) == (2, True)
    for path, variable in (("in/discord", "DISCORD_PRIVATE"), ("in/standard-v1a", "STANDARD_PRIVATE")):
        sent = await remote.cli("hooks", "send", path, "--payload", "p.json", "--secret-env", variable)
        assert (sent.code, sent.err[:2]) == (0, "20")


async def test_what_was_sent_is_listed_shown_and_replayed(remote: Remote) -> None:
    await remote.cli("apply", "hooked.yaml")
    words = ("hooks", "send", "in/github", "--payload", "p.json", "--id", "d-1")
    first = json.loads((await remote.cli(*words, "--json")).out)
    assert (first["status"], first["body"]["outcome"]) == (202, "started")
    assert json.loads((await remote.cli(*words, "--json")).out)["body"]["outcome"] == "repeated"
    wrong = await remote.cli(*words, "--as", "github", "--secret-env", "STRIPE_WEBHOOK_SECRET")
    assert (wrong.code, wrong.err) == (2, "401 Unauthorized\n")
    lines = (await remote.cli("triggers", "deliveries")).out.splitlines()
    assert lines[0].startswith("delivery ")
    assert sorted(line.split()[5] for line in lines[1:]) == ["repeated", "started", "unverified"]
    delivery = first["body"]["delivery"]
    shown = (await remote.cli("triggers", "deliveries", delivery)).out
    assert "sender id  d-1" in shown
    assert '"id": "evt_1"' in shown
    facts = [line.split("  ")[0] for line in shown.splitlines() if line[:1].isalpha()]
    assert sorted(facts) == sorted(set(facts))
    replayed = await remote.cli("triggers", "replay", delivery)
    assert (replayed.code, replayed.out[:4]) == (0, "run ")
    assert len(json.loads((await remote.cli("runs", "--json")).out)["items"]) == 2
    only = json.loads((await remote.cli("triggers", "deliveries", "--outcome", "unverified", "--json")).out)
    assert [item["reason"] for item in only["items"]] == ["wrong_signature"]


async def test_what_was_sent_and_could_not_be_mapped_says_why(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "issues.yaml").write_text(LOCAL)
    await remote.cli("apply", "issues.yaml")
    sent = await remote.cli("hooks", "send", "issues", "--payload", "p.json", "--header", "X-GitHub-Event=issues")
    assert sent.code == exits.WRONG_INPUT
    assert sent.err == "200 OK\nflowyard: payload has no 'title' (it has: id)\n"
    assert json.loads(sent.out)["outcome"] == "failed"


async def test_triggers_are_listed_shown_paused_and_resumed(remote: Remote) -> None:
    assert (await remote.cli("triggers")).out == "no triggers\n"
    await remote.cli("apply", "hooked.yaml")
    lines = (await remote.cli("triggers")).out.splitlines()
    assert len(lines) == 12
    assert lines[1].split() == ["hooked", "bearer", "webhook", "/hooks/in/bearer", "1", "active"]
    shown = (await remote.cli("triggers", "show", "hooked", "github")).out
    assert "verified by  ${env:GITHUB_WEBHOOK_SECRET}" in shown
    assert (await remote.cli("triggers", "pause", "hooked", "github")).out == "hooked/github is paused\n"
    shown = (await remote.cli("triggers", "show", "hooked", "github")).out
    assert re.search(r"^state +paused \d+ s ago$", shown, re.MULTILINE)
    sent = await remote.cli("hooks", "send", "in/github", "--payload", "p.json")
    assert (sent.code, sent.err.split()[0]) == (1, "503")
    assert (await remote.cli("triggers", "resume", "hooked", "github")).out == "hooked/github is active\n"
    assert (await remote.cli("hooks", "send", "in/github", "--payload", "p.json")).code == 0
    missing = await remote.cli("triggers", "show", "hooked", "githb")
    assert (missing.code, "did you mean 'github'?" in missing.err) == (2, True)


async def test_a_path_that_nobody_has_and_a_secret_that_is_missing_are_told(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remote.cli("apply", "hooked.yaml")
    unknown = await remote.cli("hooks", "send", "in/githb", "--payload", "p.json")
    assert (unknown.code, "no webhook 'in/githb' (did you mean 'in/github'?)" in unknown.err) == (2, True)
    monkeypatch.delenv("GITHUB_WEBHOOK_SECRET")
    missing = await remote.cli("hooks", "send", "in/github", "--payload", "p.json")
    assert missing.code == 2
    assert "set it here, too, or name another with --secret-env" in missing.err
    assert SYMMETRIC not in missing.err


SCHEDULED = """\
flow: {name: report}
state: {fields: {day: {type: date, required: true}, n: {type: int, default: 0}, reply: any}}
nodes: [{id: keep, set: {reply: "{day} {n}"}}]
triggers:
  mornings:
    schedule: {cron: "0 7 * * 1-5", timezone: Europe/Berlin, overlap: queue}
    inputs: {day: "{fire.date}", n: "{fire.number}"}
  hook:
    webhook: {path: report, secret: "${env:GITHUB_WEBHOOK_SECRET}"}
    inputs: {day: "{payload.day}"}
"""


async def test_a_schedule_is_shown_with_its_next_fires_and_backfilled_from_the_command_line(
    remote: Remote, tmp_path: Path
) -> None:
    (tmp_path / "report.yaml").write_text(SCHEDULED)
    await remote.cli("apply", "report.yaml")
    words = "At 07:00 on Monday through Friday (Europe/Berlin)"
    assert words in (await remote.cli("triggers")).out
    lines = (await remote.cli("triggers", "next", "report", "mornings")).out.splitlines()
    assert lines[0] == words
    assert len(lines) == 6
    assert all(" 07:00:00 +0" in line for line in lines[1:])
    shown = (await remote.cli("triggers", "show", "report", "mornings")).out
    assert f"fires     {words}: 0 7 * * 1-5" in shown
    assert all(line in shown for line in lines[1:])
    assert "overlap   queue" in shown
    refused = await remote.cli("triggers", "next", "report", "hook")
    assert (refused.code, "report/hook is a webhook, and no schedule" in refused.err) == (2, True)
    backfill = ("triggers", "backfill", "report", "mornings", "--from", "2026-01-05", "--to", "2026-01-09")
    lines = (await remote.cli(*backfill)).out.splitlines()
    assert [line.rsplit(maxsplit=1) for line in lines[:2]] == [["fires", "5"], ["wait for their run", "5"]]
    assert json.loads((await remote.cli(*backfill, "--json")).out) == {"fires": 5, "added": 0, "again": 0, "kept": 5}
    wrong = await remote.cli(*backfill[:-1], "tomorrow")
    assert (wrong.code, "isn't a day such as 2026-11-30" in wrong.err) == (2, True)
    await remote.cli("triggers", "pause", "report", "mornings")
    paused = await remote.cli("triggers", "next", "report", "mornings")
    assert paused.out == f"{words}; the trigger is paused\n"


def test_a_schedule_is_tried_without_a_payload(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "report.yaml").write_text(SCHEDULED)
    assert run_command(["triggers", "test", "report.yaml", "--trigger", "mornings"]) == exits.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count(" 07:00:00 +0") == 5
    assert lines[1] == "mornings: starts a run of report with"
    assert lines[3] == "  n: 1"
    assert run_command(["triggers", "test", "report.yaml", "--trigger", "hook"]) == exits.WRONG_INPUT
    assert "the trigger 'hook' needs --payload FILE" in capsys.readouterr().err
