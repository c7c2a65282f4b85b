from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import nats
import pytest

from flowyard.bus import subjects
from flowyard.bus.code_messages import CodeRequest, CodeState
from flowyard.bus.connection import Bus, open_bus
from flowyard.bus.doorbell import doorbell
from flowyard.bus.messages import (
    DraftTestResults,
    DraftTests,
    KeyChanged,
    RunControl,
    RunEvents,
    RunTokens,
    WorkflowChanged,
    WorkQueued,
)
from flowyard.bus.subjects import PERMISSIONS, READER, SENDER
from integration.bus.server import NatsServer
from support.waiting import eventually

RUN = UUID("01990000-0000-7000-8000-000000000001")
NATS_CONF = Path(__file__).parents[3] / "deploy" / "nats" / "nats.conf"
PASSWORD = "p@ss/w:rd%"
QUOTED = "p%40ss%2Fw%3Ard%25"


@pytest.fixture
def guarded_nats(stopped_nats: NatsServer) -> NatsServer:
    """Lets in whom the containers' own lets in, to just the same."""
    passwords = "".join(f"{service}_password: {json.dumps(PASSWORD)}\n" for service in (*PERMISSIONS, READER, SENDER))
    conf = NATS_CONF.read_text()
    with stopped_nats._config.open("a") as config:
        config.write(passwords + conf[conf.index("authorization {") :])
    stopped_nats.start()
    stopped_nats.wait()
    return stopped_nats


def _url(nats: NatsServer, service: str, password: str = QUOTED) -> str:
    return nats.url.replace("//", f"//{service}:{password}@")


async def test_services_reach_each_other_with_nothing_but_their_own_permissions(guarded_nats: NatsServer) -> None:
    dropped: list[tuple[str, str]] = []

    async with AsyncExitStack() as opened:
        bus: dict[str, Bus] = {}
        for service in PERMISSIONS:
            bus[service] = await opened.enter_async_context(
                open_bus(_url(guarded_nats, service), name=service, on_drop=lambda *drop: dropped.append(drop))
            )
        await eventually(lambda: all(each.connected for each in bus.values()))
        for message, sender, hearer in (
            (WorkQueued(), "gateway", "executor"),
            (RunControl(run_id=RUN, action="cancel"), "dashboard", "executor"),
            (RunEvents(run_id=RUN, last_seq=7, has_moved=True), "executor", "gateway"),
            (RunTokens(run_id=RUN, epoch=1, node="write", visit=1, text="snow"), "executor", "dashboard"),
            (WorkflowChanged(name="haiku"), "registry", "executor"),
            (KeyChanged(id="k1"), "gateway", "registry"),
        ):
            async with doorbell(bus[hearer], message.subject, type(message), poll_s=60) as bell:
                await bell.wait()
                bus[sender].publish(message)
                await asyncio.wait_for(bell.wait(), 1)
    assert dropped == []


async def test_only_the_registry_has_drafts_tested_and_an_executor_answers(guarded_nats: NatsServer) -> None:
    async def answer(message: DraftTests) -> DraftTestResults:
        return DraftTestResults(faults=[[message.document]])

    dropped: list[tuple[str, str]] = []
    async with (
        open_bus(_url(guarded_nats, "executor"), name="executor") as executor,
        open_bus(_url(guarded_nats, "registry"), name="registry") as registry,
        open_bus(_url(guarded_nats, "gateway"), name="gateway", on_drop=lambda *drop: dropped.append(drop)) as gateway,
    ):
        await eventually(lambda: executor.connected and registry.connected and gateway.connected)
        async with executor.subscribe(subjects.DRAFT_TESTS, DraftTests, answer):
            results = await registry.request(DraftTests(document="a"), DraftTestResults, within_s=10)
            assert results == DraftTestResults(faults=[["a"]])
            gateway.publish(DraftTests(document="b"))
            await eventually(lambda: dropped == [("not_permitted", "any")])


async def test_a_sandbox_may_answer_executors_and_nothing_else(guarded_nats: NatsServer) -> None:
    async def answer(_message: CodeRequest) -> CodeState:
        return CodeState(sandbox="a", state="busy")

    async def ignore(_message: object) -> None: ...

    dropped: list[tuple[str, str]] = []
    request = CodeRequest(job="0" * 32, tier="fast", timeout=1, memory_mb=16, result=10, code="", inputs="{}")
    async with (
        open_bus(_url(guarded_nats, "executor"), name="executor") as executor,
        open_bus(_url(guarded_nats, "sandbox"), name="sandbox", on_drop=lambda *drop: dropped.append(drop)) as sandbox,
    ):
        await eventually(lambda: executor.connected and sandbox.connected)
        async with sandbox.subscribe(subjects.CODE_RUN, CodeRequest, answer):
            state = await executor.request(request, CodeState, within_s=10)
            assert state is not None
            assert state.state == "busy"
        sandbox.publish(WorkQueued())
        sandbox.publish(request)
        await eventually(lambda: len(dropped) == 2)
        async with (
            sandbox.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, ignore),
            sandbox.subscribe(subjects.ANY_RUN_TOKENS, RunTokens, ignore),
            sandbox.subscribe(subjects.ANY_RUN_CONTROL, RunControl, ignore),
        ):
            await eventually(lambda: len(dropped) == 5)
    assert dropped == [("not_permitted", "any")] * 5


async def test_what_a_service_may_not_use_is_refused_counted_and_logged(
    guarded_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    dropped: list[tuple[str, str]] = []

    async def ignore(_message: object) -> None: ...

    async with (
        open_bus(_url(guarded_nats, "gateway"), name="gateway") as gateway,
        doorbell(gateway, subjects.KEYS_CHANGED, KeyChanged, poll_s=0.2) as bell,
        open_bus(_url(guarded_nats, "executor"), name="executor", on_drop=lambda *drop: dropped.append(drop)) as bus,
    ):
        await bell.wait()
        bus.publish(KeyChanged(id="k1"))
        await eventually(lambda: len(dropped) == 1)
        async with bus.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, ignore):
            await eventually(lambda: len(dropped) == 2)
    assert dropped == [("not_permitted", "any")] * 2
    assert subjects.KEYS_CHANGED in "".join(str(vars(record).get("detail")) for record in caplog.records)


@pytest.mark.parametrize("service", PERMISSIONS)
async def test_nobody_answers_requests_or_receives_answers(guarded_nats: NatsServer, service: str) -> None:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await nats.connect(guarded_nats.url, user=service, password=PASSWORD, error_cb=note)
    await client.subscribe("_INBOX.>")
    for subject in ("_INBOX.somebody", "flowyard.agents.register", "flowyard.agents.executor-1.heartbeat"):
        await client.publish(subject, b"{}")
    await client.flush()
    await eventually(lambda: len(refused) == 4)
    await client.close()


async def test_a_wrong_password_is_logged_once_never_shown_and_tried_again(
    guarded_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="flowyard")
    async with open_bus(_url(guarded_nats, "gateway", "0ldSecret"), name="gateway") as bus:
        await asyncio.sleep(0.7)  # it tries several times
        assert not bus.connected
        said = [str(vars(record)) for record in caplog.records if "uthorization" in str(vars(record))]
        assert len(said) == 1
        assert "0ldSecret" not in "".join(str(vars(record)) for record in caplog.records)
        guarded_nats.kill()
        guarded_nats.let_in({"gateway": ("0ldSecret", PERMISSIONS["gateway"])})
        guarded_nats.start()
        await eventually(lambda: bus.connected)
