"""`flowyard notifications`, and `flowyard run NAME --on-finish`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import standardwebhooks

from support.receiving import SECRET, receiving
from support.remote import Remote, open_remote
from support.waiting import eventually


@pytest.fixture
async def remote(
    database_url: str, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Remote]:
    monkeypatch.setenv("FLOWYARD_OUTBOUND_ALLOW", "127.0.0.1")
    monkeypatch.setenv("FLOWYARD_WEBHOOK_SECRET", SECRET)
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.cli("apply", "poem.yaml")
        yield remote


async def test_a_receiver_is_named_fails_is_shown_enabled_and_gets_everything(remote: Remote) -> None:
    async with receiving() as server:
        server.answer = 410
        url = f"{server.url}/mine?token=secret"
        started = await remote.cli("run", "poem", "-i", "topic=rain", "--detach", "--on-finish", url)
        assert started.code == 0, started.err
        await remote.hands.succeed(await remote.hands.take(), {"poem": "p"})
        failed = await eventually(lambda: remote_items(remote, "list", "--state", "failed"))
        [notification] = failed
        standardwebhooks.Webhook(SECRET).verify(server.received[0].body.decode(), dict(server.received[0].headers))
        assert notification["run_id"] == server.received[0].data["id"]
        shown = await remote.cli("notifications", "show", notification["id"])
        assert f"url       {server.url}/mine?…" in shown.out
        assert "it answered 410" in shown.out
        receivers = await remote.cli("notifications", "receivers")
        assert "disabled: gone" in receivers.out
        assert "token" not in receivers.out + shown.out
        refused = await remote.cli("notifications", "replay", notification["id"])
        assert (refused.code, "enable it first" in refused.err) == (2, True)
        server.answer = 204
        enabled = await remote.cli("notifications", "enable", notification["receiver"])
        assert enabled.out == f"{notification['receiver']} is enabled, and gets what waits for it: 0 notifications\n"
        replayed = await remote.cli("notifications", "replay", notification["receiver"])
        assert replayed.out == "1 notification that had failed: sent again\n"
        await eventually(lambda: len(server.received) == 2)
        again = await remote.cli("notifications", "replay", notification["id"])
        assert again.out == f"{notification['id']} is sent again\n"
        await eventually(lambda: len(server.received) == 3)
        of_run = ("--run", notification["run_id"], "--receiver", notification["receiver"])
        [last] = await eventually(lambda: remote_items(remote, "list", "--state", "sent", *of_run))
        assert [each["status"] for each in last["answers"]] == [410, 204, 204]


async def remote_items(remote: Remote, *words: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = json.loads((await remote.cli("notifications", *words, "--json")).out)["items"]
    return items


async def test_without_any_the_lists_say_so(remote: Remote) -> None:
    assert (await remote.cli("notifications")).out == "no notifications\n"
    assert (await remote.cli("notifications", "receivers")).out == "no receivers\n"


async def test_what_is_not_there_is_named(remote: Remote) -> None:
    ended = await remote.cli("notifications", "show", "0123456789abcdef")
    assert (ended.code, ended.err) == (2, "flowyard: no receiver '0123456789abcdef' [unknown_receiver]\n")


async def test_a_url_that_cannot_be_used_is_refused_before_anything_is_sent(remote: Remote) -> None:
    ended = await remote.cli("run", "poem", "-i", "topic=rain", "--on-finish", "https://me:pass@example.com")
    assert ended.code == 2
    assert "--on-finish: the URL contains a user or a password" in ended.err


async def test_a_file_sends_no_notifications(remote: Remote) -> None:
    ended = await remote.cli("run", "poem.yaml", "-i", "topic=rain", "--on-finish", "https://example.com")
    assert ended.code == 2
    assert "--on-finish: a file runs in this process" in ended.err


async def test_the_secret_comes_from_the_environment_a_file_or_the_data_directory(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await remote.cli("notifications", "secret")).out == f"{SECRET}\n"
    monkeypatch.delenv("FLOWYARD_WEBHOOK_SECRET")
    missing = await remote.cli("notifications", "secret")
    assert (missing.code, "no secret here" in missing.err) == (2, True)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "webhook.secret").write_text("whsec_own\n")
    assert (await remote.cli("notifications", "secret")).out == "whsec_own\n"
    (tmp_path / "given").write_text("whsec_given\n")
    given = await remote.cli("notifications", "secret", "--json", FLOWYARD_WEBHOOK_SECRET_FILE=str(tmp_path / "given"))
    assert json.loads(given.out) == {"secret": "whsec_given"}
