"""What receivers get, over real HTTP, and when."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
import standardwebhooks

from flowyard.notify.schedule import PAUSES_S
from flowyard.outbound.allowlist import read_allowlist
from flowyard.runs.notifications import MAX_FAILURES, NotificationId
from flowyard.storage.notifications import NotificationFilter
from support.lazily import lazily
from support.receiving import LISTED, OTHER_SECRET, SECRET, ended, in_state, only, receiving, refused, sending
from support.stored import Stored, ending
from support.waiting import eventually

if TYPE_CHECKING:
    import openai
    import svix.webhooks
else:
    openai = lazily("openai")
    svix = lazily("svix")


async def test_the_verifiers_of_others_accept_what_is_sent(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        run_id = await ended(stored, server.receiver())
        await eventually(lambda: server.received)
    [received] = server.received
    text = received.body.decode()
    assert standardwebhooks.Webhook(SECRET).verify(text, dict(received.headers))["data"]["id"] == str(run_id)
    # These two raise an error unless all is right.
    svix.webhooks.Webhook(SECRET).verify(text, dict(received.headers))
    openai.OpenAI(api_key="none").webhooks.verify_signature(received.body, received.headers, secret=SECRET)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        openai.OpenAI(api_key="none").webhooks.verify_signature(received.body + b" ", received.headers, secret=SECRET)
    assert received.headers["Content-Type"] == "application/json"


async def test_the_message_has_the_run_and_its_result(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        claim = await stored.claimed(on_finish=(server.receiver(),))
        commit = ending(claim)
        commit.outputs = json.dumps({"poem": "rain\ud800", "long": "x" * 65_536})
        await stored.committer.commit(commit)
        await eventually(lambda: server.received)
    message = json.loads(server.received[0].body)
    run = await stored.runs.get(claim.run_id)
    assert run.finished_at is not None
    assert (message["type"], message["timestamp"]) == ("run.succeeded", run.finished_at.isoformat())
    data = message["data"]
    assert (data["id"], data["workflow"], data["revision"], data["status"]) == (str(run.id), "test", 1, "succeeded")
    assert (data["outputs"], data["large_outputs"]) == ({"poem": "rain\ud800"}, {"long": 65_538})
    assert data["spending"] == {"calls": 0, "tokens_in": 0, "tokens_out": 0, "cost_usd": "0"}
    assert data["error"] is None
    assert "inputs" not in data


async def test_outputs_are_left_out_if_the_document_says_so(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        await ended(stored, server.receiver(include="none"))
        await eventually(lambda: server.received)
    assert not {"outputs", "large_outputs"} & server.received[0].data.keys()


async def test_only_the_ends_are_reported_that_a_receiver_wants(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        for status in ("succeeded", "failed"):
            receivers = server.receiver("/all"), server.receiver("/failed", statuses=("failed", "cancelled"))
            await ended(stored, *receivers, status=status)
        cancelled = await stored.run(on_finish=(server.receiver("/failed", statuses=("failed", "cancelled")),))
        await stored.moves.cancel(cancelled)
        await eventually(lambda: len(server.received) >= 4)
    assert sorted(each.data["status"] for each in server.at("/all")) == ["failed", "succeeded"]
    assert sorted(each.data["status"] for each in server.at("/failed")) == ["cancelled", "failed"]


async def test_a_run_without_receivers_leaves_no_row(stored: Stored) -> None:
    await ended(stored)
    assert (await stored.counts())["notifications"] == 0


async def test_a_failed_run_that_is_retried_reports_both_ends_each_with_its_own_id(stored: Stored) -> None:
    async with receiving() as server:
        claim = await stored.claimed(on_finish=(server.receiver(),))
        await stored.finish(claim, "failed")
        await stored.moves.retry(claim.run_id)
        async with sending(stored):
            # Sent while the run is open again: what is said of the first end is what was true then.
            await eventually(lambda: server.received)
            [again] = await stored.claims.take("one", 1)
            await stored.finish(again)
            await eventually(lambda: len(server.received) == 2)
    first, second = server.received
    assert (first.data["status"], second.data["status"]) == ("failed", "succeeded")
    assert first.data["error"]["code"] == "test"
    assert first.data["outputs"] is None
    assert first.id != second.id


async def test_two_secrets_sign_while_one_replaces_the_other(stored: Stored) -> None:
    environ = {"A_WEBHOOK_SECRET": SECRET, "B_WEBHOOK_SECRET": OTHER_SECRET}
    async with receiving() as server, sending(stored, environ=environ):
        secrets = "${env:A_WEBHOOK_SECRET}", "${env:B_WEBHOOK_SECRET}"
        await ended(stored, server.receiver(secrets=secrets))
        await eventually(lambda: server.received)
    [received] = server.received
    for secret in (SECRET, OTHER_SECRET):
        standardwebhooks.Webhook(secret).verify(received.body.decode(), dict(received.headers))


async def test_receivers_that_callers_name_are_signed_by_the_installation(stored: Stored) -> None:
    async with receiving() as server, sending(stored, own=(OTHER_SECRET,)):
        await ended(stored, server.receiver(secrets=()))
        await eventually(lambda: server.received)
    [received] = server.received
    standardwebhooks.Webhook(OTHER_SECRET).verify(received.body.decode(), dict(received.headers))


async def test_a_receiver_that_wants_no_signature_gets_none(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        await ended(stored, server.receiver(secrets=(), is_open=True))
        await eventually(lambda: server.received)
    assert "webhook-id" in server.received[0].headers
    assert "webhook-signature" not in server.received[0].headers


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("${env:MISSING_WEBHOOK_SECRET}", "it needs the environment variable MISSING_WEBHOOK_SECRET of the registry"),
        ("${env:OPENAI_API_KEY}", "FLOWYARD_HOOK_VARIABLES doesn't allow the variable OPENAI_API_KEY"),
        ("${file:nothing}", "it needs the file nothing in the folder that FLOWYARD_REFERENCED_FILES names"),
        ("${env:B_WEBHOOK_SECRET}", "the secret of the webhook should be"),
    ],
)
async def test_nothing_is_sent_without_a_usable_secret_and_the_record_says_which(
    stored: Stored, secret: str, why: str
) -> None:
    environ = {"OPENAI_API_KEY": SECRET, "B_WEBHOOK_SECRET": "not in Base64!"}
    async with receiving() as server, sending(stored, environ=environ) as at_work:
        await ended(stored, server.receiver(secrets=(secret,)))
        notification = await refused(stored, 1)
    assert not server.received
    [tried] = notification.answers
    assert why in (tried.failure or "")
    assert at_work.metrics.value("flowyard_notification_failures_total", reason="unsigned") == 1


async def test_a_refused_notification_is_sent_ten_times_in_three_days_with_the_same_id(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        server.answer = 500
        await ended(stored, server.receiver())
        for number, pause in enumerate(PAUSES_S, 1):
            notification = await refused(stored, number)
            assert notification.next_at is not None
            wait = notification.next_at - (datetime.now(UTC) + at_work.notifications.ahead)
            assert timedelta(seconds=pause * 0.9 - 5) <= wait <= timedelta(seconds=pause * 1.1)
            at_work.later(seconds=pause * 1.1)
        last = await in_state(stored, "failed")
    assert len(server.received) == 10
    assert {each.id for each in server.received} == {str(last.id)}
    assert {each.body for each in server.received} == {server.received[0].body}
    assert [each.status for each in last.answers] == [500] * 10
    assert last.next_at is None


async def test_nothing_is_sent_before_its_time(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        server.answer = 500
        await ended(stored, server.receiver())
        await refused(stored, 1)
        at_work.later(seconds=3)
        await asyncio.sleep(0.3)
        assert len(server.received) == 1
        server.answer = 200
        at_work.later(seconds=3)
        await in_state(stored, "sent")


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_respected(stored: Stored, status: int, form: str) -> None:
    async with receiving() as server, sending(stored) as at_work:
        until = datetime.now(UTC) + timedelta(hours=1)
        server.answer = status
        server.headers = {"Retry-After": "3600" if form == "seconds" else format_datetime(until, usegmt=True)}
        await ended(stored, server.receiver())
        notification = await refused(stored, 1)
        assert notification.next_at is not None
        wait_s = (notification.next_at - datetime.now(UTC)).total_seconds()
        assert wait_s == pytest.approx(3600, abs=30)
        # With 429 and 503, the receiver wants to be left alone by all that is for it.
        server.answer = 200
        await ended(stored, server.receiver())
        if status == 500:
            await eventually(lambda: len(server.received) == 2)
        else:
            await asyncio.sleep(0.3)
            assert len(server.received) == 1
            at_work.later(seconds=3660)
            await eventually(lambda: len(server.received) == 3)


async def test_a_receiver_that_wants_to_be_left_alone_for_a_year_is_tried_after_a_day(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        server.answer, server.headers = 503, {"Retry-After": "31536000"}
        await ended(stored, server.receiver())
        notification = await refused(stored, 1)
    assert notification.next_at is not None
    assert notification.next_at - datetime.now(UTC) <= timedelta(days=1)


async def test_410_disables_a_receiver_until_somebody_enables_it(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        server.answer = 410
        first = await ended(stored, server.receiver())
        notification = await in_state(stored, "failed")
        health = await at_work.notifications.receiver(notification.receiver_id)
        assert (health.why_disabled, health.disabled_at is not None) == ("gone", True)
        server.answer = 200
        second = await ended(stored, server.receiver())
        await eventually(lambda: at_work.metrics.value("flowyard_receivers_disabled") == 1)
        await asyncio.sleep(0.2)
        assert len(server.received) == 1
        assert (await at_work.notifications.receiver(notification.receiver_id)).waiting == 1
        await at_work.notifications.enable(notification.receiver_id)
        await eventually(lambda: len(server.received) == 2)
        assert server.received[1].data["id"] == str(second)
        await at_work.notifications.replay(notification.id)
        await eventually(lambda: len(server.received) == 3)
        assert server.received[2].id == str(notification.id)
    assert server.received[2].data["id"] == str(first)


async def test_a_receiver_is_disabled_when_all_tries_of_several_notifications_have_failed(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        server.answer = 500
        for _ in range(MAX_FAILURES + 2):
            await ended(stored, server.receiver())
        hours = 0

        async def disabled() -> bool:
            nonlocal hours
            at_work.later(hours=1)
            hours += 1
            return bool(at_work.metrics.value("flowyard_receivers_disabled"))

        await eventually(disabled, 60)
        [health] = await at_work.notifications.receivers(after=None, limit=10)
        assert health.why_disabled == "failing"
        # Three days of tries at least: the schedule is that long.
        assert health.disabled_at is not None
        assert health.failing_since is not None
        assert health.disabled_at - health.failing_since > timedelta(days=3)
        assert health.waiting == 2
        server.answer = 200
        await at_work.notifications.enable(health.id)
        await eventually(lambda: at_work.metrics.value("flowyard_notifications_waiting") == 0)
        assert await at_work.notifications.replay_failed(health.id) == MAX_FAILURES
        await eventually(lambda: at_work.metrics.value("flowyard_notifications_total", outcome="accepted") == 5)


async def test_urls_that_differ_in_their_queries_are_one_receiver(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        for number in range(3):
            await ended(stored, server.receiver(f"/hooks?job={number}"))
        await ended(stored, server.receiver("/hooks"), workflow="other")
        await eventually(lambda: at_work.metrics.value("flowyard_notifications_total", outcome="accepted") == 4)
        workflows = [each.workflow for each in await at_work.notifications.receivers(after=None, limit=10)]
    assert sorted(workflows) == ["other", "test"]


async def test_one_success_forgives_the_failures_before_it(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        for answer in (500, 200):
            server.answer = answer
            await ended(stored, server.receiver())
            await eventually(lambda: server.received)
            server.received.clear()
        at_work.later(minutes=1)
        await eventually(lambda: at_work.metrics.value("flowyard_notifications_waiting") == 0)
        [health] = await at_work.notifications.receivers(after=None, limit=10)
    assert (health.failing_since, health.failures) == (None, 0)


async def test_a_redirect_is_a_failure_and_is_not_followed(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        server.answer, server.headers = 302, {"Location": f"{server.url}/other"}
        await ended(stored, server.receiver("/first"))
        notification = await refused(stored, 1)
    assert [each.path for each in server.received] == ["/first"]
    assert notification.answers[0].status == 302


async def test_a_private_address_gets_nothing_unless_the_setting_lists_it(stored: Stored) -> None:
    async with receiving() as server:
        await ended(stored, server.receiver())
        async with sending(stored, allow=read_allowlist("10.0.0.0/8")) as at_work:
            notification = await refused(stored, 1)
            assert not server.received
            assert "FLOWYARD_OUTBOUND_ALLOW lists 127.0.0.1" in (notification.answers[0].failure or "")
            failures = "flowyard_notification_failures_total"
            assert at_work.metrics.value(failures, reason="address_refused") == 1
        # The next try is made with the setting as it is then.
        async with sending(stored) as at_work:
            at_work.later(seconds=10)
            await in_state(stored, "sent")


async def test_replays_are_recorded_with_the_tries_before_them(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        await ended(stored, server.receiver())
        first = await in_state(stored, "sent")
        for tries in range(2, 25):
            await at_work.notifications.replay(first.id)
            await in_state(stored, "sent")
            assert len(server.received) == tries
        last = await only(stored)
    assert {each.id for each in server.received} == {str(first.id)}
    assert (len(last.answers), last.tries) == (20, 1)


async def test_lists_are_filtered_and_go_from_the_newest_run_to_the_oldest(stored: Stored) -> None:
    async with receiving() as server, sending(stored) as at_work:
        first = await ended(stored, server.receiver("/a"), server.receiver("/b"))
        second = await ended(stored, server.receiver("/a"))
        await eventually(lambda: at_work.metrics.value("flowyard_notifications_total", outcome="accepted") == 3)
        store = at_work.notifications
        all_of_them = await store.page(LISTED, 10)
        assert [each.id.run_id for each in all_of_them] == [second, first, first]
        assert [each.id for each in await store.page(NotificationFilter(before=all_of_them[0].id), 1)] == [
            NotificationId(first, 2, 1)
        ]
        wanted = NotificationFilter(receiver=all_of_them[0].receiver_id, run_id=first, state="sent")
        assert [each.id for each in await store.page(wanted, 10)] == [NotificationId(first, 2, 0)]


async def test_retention_deletes_notifications_with_their_runs_and_then_their_receivers(stored: Stored) -> None:
    async with receiving() as server, sending(stored):
        await ended(stored, server.receiver())
        await in_state(stored, "sent")
    assert await stored.retention.delete_receivers(older_than_s=0) == 0
    await stored.database.execute("UPDATE runs SET created_at = now() - interval '1 day', finished_at = created_at")
    assert (await stored.retention.delete_runs(older_than_s=0))["notifications"] == 1
    assert await stored.retention.delete_receivers(older_than_s=3600) == 0
    assert await stored.retention.delete_receivers(older_than_s=0) == 1
