"""The client, at a server that answers what a test says."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from flowyard.api import examples
from flowyard.api.client import Client
from flowyard.api.following import follow_run
from flowyard.api.history import EventView, TokenView
from flowyard.api.refusals import Refused, Unintelligible, Unreachable
from flowyard.api.runs import RunRequest
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidInputs
from unit.api.conftest import Say, Server, problem

RUN_ID = UUID(examples.SUMMARY["id"])
ENDED = {"seq": 3, "at": "2026-11-23T03:50:46Z", "type": "run.succeeded", "data": {}}


def stream(*events: dict[str, Any]) -> Say:
    parts = [f"event: {event['type']}\nid: {event['seq']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return Say(200, "retry: 1000\n\n: still here\n\n" + "".join(parts), "text/event-stream")


def test_requests_carry_the_key_and_names_are_names(server: Server) -> None:
    server.answers = [Say(200, {"items": [], "next_cursor": None})] * 2
    with server.client() as client:
        assert list(client.revisions("a/b?c ä")) == []
        assert list(client.revisions("..")) == []
    assert [path for _, path, _, _ in server.seen] == [
        "/v1/workflows/a%2Fb%3Fc%20%C3%A4/revisions?limit=200",
        "/v1/workflows/%2E%2E/revisions?limit=200",
    ]
    assert server.seen[0][2]["authorization"] == "Bearer fy_key"


def test_all_pages_are_read_but_no_more_than_wanted(server: Server) -> None:
    pages = [Say(200, {"items": [examples.SUMMARY] * 2, "next_cursor": str(RUN_ID)}), Say(200, {"items": []})]
    server.answers = [*pages, pages[0]]
    with server.client() as client:
        assert len(list(client.runs(workflow="w", status=["failed", "queued"]))) == 2
        assert len(list(client.runs(most=2))) == 2
    paths = [path for _, path, _, _ in server.seen]
    assert paths[0] == "/v1/runs?workflow=w&status=failed&status=queued&limit=200"
    assert paths[1].endswith(f"&cursor={RUN_ID}&limit=200")
    assert paths[2] == "/v1/runs?limit=2"


@pytest.mark.parametrize("lost", [problem(503, "unavailable", retry_after=1), Say(body=None), Say(502, "<html>")])
def test_what_may_come_twice_is_sent_again(server: Server, lost: Say) -> None:
    server.answers = [lost, Say(200, examples.RUN), lost, Say(202, examples.RUN)]
    with server.client() as client:
        assert client.run(RUN_ID).id == RUN_ID
        assert client.submit("haiku", RunRequest(inputs={"topic": "rain"})).id == RUN_ID
    first, second = (headers["idempotency-key"] for method, _, headers, _ in server.seen if method == "POST")
    assert first == second


def test_what_may_not_come_twice_is_sent_once(server: Server) -> None:
    server.answers = [problem(503, "unavailable")]
    with server.client() as client, pytest.raises(Refused):
        client.retry(RUN_ID)
    assert len(server.seen) == 1


def test_a_wait_that_would_be_too_long_is_not_begun(server: Server) -> None:
    server.answers = [problem(503, "unavailable", retry_after=60)]
    begun = time.monotonic()
    with server.client(patience_s=2) as client, pytest.raises(Refused) as caught:
        client.status()
    assert time.monotonic() - begun < 60
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("unavailable", 503, 60)


def test_a_refusal_carries_what_the_gateway_answered(server: Server) -> None:
    server.answers = [
        problem(409, "workflow_in_use", open_runs=3),
        problem(422, "invalid_inputs", problems=["a: missing", "b: isn't known"]),
    ]
    with server.client() as client:
        with pytest.raises(Refused) as refused:
            client.delete_workflow("w")
        with pytest.raises(InvalidInputs) as invalid:
            client.submit("w", RunRequest(inputs={}))
    assert (refused.value.code, dict(refused.value.details), refused.value.message) == (
        "workflow_in_use",
        {"open_runs": 3},
        "d",
    )
    assert invalid.value.problems == ("a: missing", "b: isn't known")


@pytest.mark.parametrize(
    "answer", [Say(200, "<html>"), Say(200, {"other": 1}), Say(404, "<html>"), Say(301, "", headers={"location": "/"})]
)
def test_who_does_not_answer_as_flowyard_does_is_recognised(server: Server, answer: Say) -> None:
    server.answers = [answer]
    with server.client() as client, pytest.raises(Unintelligible, match="doesn't answer as Flowyard does"):
        client.run(RUN_ID)


def test_who_is_not_there_is_not_waited_for() -> None:
    begun, client = time.monotonic(), Client("http://127.0.0.1:9", SecretStr("fy_key"), patience_s=60)
    with client, pytest.raises(Unreachable, match="refused"):
        client.status()
    assert time.monotonic() - begun < 60


def test_what_is_no_json_is_not_sent_and_half_a_character_is(server: Server) -> None:
    server.answers = [Say(202, examples.RUN | {"outputs": {"poem": "\ud83d"}})]
    with server.client() as client:
        with pytest.raises(InvalidInputs):
            client.submit("haiku", RunRequest(inputs={"n": float("nan")}))
        run = client.submit("haiku", RunRequest(inputs={"topic": "\ud83d"}))
    assert run.outputs == {"poem": "\ud83d"}
    assert b'"\\ud83d"' in server.seen[0][3]


def followed(server: Server, *, after: int = 0, give_up_s: float = 5) -> tuple[list[int], list[FlowyardError]]:
    breaks: list[FlowyardError] = []
    with server.client() as client:
        items = follow_run(client, RUN_ID, after=after, give_up_s=give_up_s, on_break=breaks.append)
        return [one.seq for one in items if isinstance(one, EventView)], breaks


def test_a_broken_stream_goes_on_where_it_broke(server: Server) -> None:
    event = {**ENDED, "type": "step.started"}
    server.answers = [
        stream({**event, "seq": 1}),
        Say(body=None),
        problem(503, "shutting_down"),
        stream({**event, "seq": 2}, ENDED),
    ]
    seqs, breaks = followed(server)
    assert seqs == [1, 2, 3]
    assert len(breaks) == 1
    assert [headers["last-event-id"] for _, _, headers, _ in server.seen] == ["0", "1", "1", "1"]


def test_a_run_that_ended_and_was_retried_is_followed_to_its_second_end(server: Server) -> None:
    failed = {**ENDED, "seq": 1, "type": "run.failed"}
    server.answers = [stream(failed, {**ENDED, "seq": 2, "type": "run.queued"}), stream(ENDED)]
    assert followed(server)[0] == [1, 2, 3]


def test_where_there_is_no_more_the_stream_ends(server: Server) -> None:
    server.answers = [Say(204, "")]
    assert followed(server, after=3) == ([], [])


def test_who_is_away_for_too_long_is_given_up(server: Server) -> None:
    server.answers = [Say(body=None)] * 10
    with pytest.raises(Unreachable):
        followed(server, give_up_s=0.5)


def test_a_run_that_is_not_there_is_not_followed(server: Server) -> None:
    server.answers = [problem(404, "unknown_run")]
    with pytest.raises(Refused) as caught:
        followed(server)
    assert caught.value.code == "unknown_run"


def test_tokens_come_between_the_events(server: Server) -> None:
    tokens = f"event: token\ndata: {json.dumps(examples.TOKEN)}\n\n"
    server.answers = [Say(200, tokens + stream(ENDED).body, "text/event-stream")]
    with server.client() as client:
        kinds: Sequence[type] = [type(one) for one in client.follow(RUN_ID)]
    assert kinds == [TokenView, EventView]
