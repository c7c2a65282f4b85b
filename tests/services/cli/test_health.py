"""What `flowyard status` makes of what the gateway says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from flowyard.api.client import Client
from flowyard.api.status import StatusView
from flowyard_cli.commands.status import show
from flowyard_cli.remote.health import StackHealth, stack_health

NOW = datetime.now(UTC).isoformat()
EXECUTOR = {"name": "executor", "healthy": True, "version": "0.1.0", "replicas": 1}
HEALTH = {"version": "0.1.0", "ready": True, "draining": False, "checks": []}


def executors(count: int) -> list[dict[str, Any]]:
    content = {"version": "0.1.0", "host": "here", "slots": 32, "slots_used": 4, "heartbeat_at": NOW}
    return [{"id": f"e{number}", "name": f"e{number}", **content} for number in range(count)]


def status(*services: dict[str, Any], orphaned: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "schema_version": "0002",
        "nats_connected": True,
        "services": [{"name": "gateway", "healthy": True, "version": "0.1.0"}, *(services or (EXECUTOR,))],
        "queue": {"queued": 0, "running": 0, "waiting": 0, "oldest_queued_s": 0, "orphaned": orphaned},
        "executors": executors(1),
        "slots": 32,
        "slots_used": 4,
        **more,
    }


def standing(content: dict[str, Any], services: tuple[Any, ...] = ()) -> StackHealth:
    return StackHealth("http://here", services, StatusView.model_validate(content))


def firing(severity: str | None) -> dict[str, Any]:
    alert = {
        "name": "Late",
        "severity": severity,
        "summary": "It is late",
        "since": NOW,
        "labels": {"workflow": "poem"},
    }
    return {"alerts": {"firing": [alert], "unreachable": None}}


@pytest.mark.parametrize(("severity", "wrong"), [("critical", ["Late fires"]), (None, ["Late fires"]), ("warning", [])])
def test_an_alert_is_shown_and_is_a_fault_unless_it_is_a_warning(
    severity: str | None, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    report = standing(status(**firing(severity)))
    assert report.wrong == wrong
    show(report)
    out = capsys.readouterr().out
    assert "\nalerts       1 fires\n" in out
    assert " for workflow poem, since " in out
    assert " ago: It is late\n" in out


@pytest.mark.parametrize(
    ("alerts", "line"),
    [
        ({"firing": [], "unreachable": None}, "alerts       none fires"),
        ({"firing": None, "unreachable": "no answer within 2 s"}, "alerts       unknown: no answer within 2 s"),
    ],
)
def test_no_alerts_and_no_answer_are_different_things(
    alerts: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    today = {
        "since": NOW,
        "total": 1204,
        "runs": {"failed": 4, "succeeded": 1200},
        "calls": 10,
        "cost_usd": None,
        "known_cost_usd": "0.10000002",
        "unknown_cost": 3,
    }
    show(standing(status(alerts=alerts, today=today)))
    out = capsys.readouterr().out
    assert line in out
    assert "today (UTC)  1,204 runs: 1,200 succeeded, 4 failed" in out
    assert "spent        ≥ $0.10000002 (3 calls unknown) for 10 model calls" in out


def test_orphaned_runs_are_a_fault() -> None:
    (fault,) = standing(status(orphaned=2)).wrong
    assert fault.startswith("2 orphaned")


@contextmanager
def gateway(content: dict[str, Any]) -> Iterator[Client]:
    """A client of one that answers so."""
    answers = {"/health/ready": HEALTH, "/v1/status": content}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answers[request.url.path])

    with Client("http://here", SecretStr("fy_x")) as client:
        client.http.close()
        client.http = httpx.Client(base_url=client.url, transport=httpx.MockTransport(answer))
        yield client


def test_executors_that_can_not_be_seen_are_not_said_to_be_down() -> None:
    unseen = {"name": "executor", "healthy": None, "detail": "NATS isn't connected: they can't be seen"}
    with gateway(status(unseen, executors=[])) as client:
        report = stack_health(client, None)
    assert report.wrong == ["executors may be well or not: NATS isn't connected: they can't be seen"]


@pytest.mark.parametrize(("count", "shown"), [(8, [f"e{number}" for number in range(8)]), (9, ["executors"])])
def test_many_executors_are_one_line(count: int, shown: list[str]) -> None:
    content = {**EXECUTOR, "replicas": count}
    with gateway(status(content, executors=executors(count))) as client:
        report = stack_health(client, None)
    assert [service.name for service in report.services] == ["gateway", *shown]
    assert report.wrong == []
