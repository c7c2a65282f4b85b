"""A system that says no: because of a run, because of itself, or in words that mean yes."""

from __future__ import annotations

import pytest
from aiohttp import web

from flowyard.export import exporter
from support.exporting import all_exported, ended, exporters, listening, otlp_target
from support.otlp import Got, otlp_receiver
from support.stored import Stored
from support.waiting import eventually


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_what_is_wrong_with_a_target_costs_no_run(stored: Stored, status: int) -> None:
    await listening(stored.database, "otlp")
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target, first_pause_s=0.001) as metrics,
    ):
        receiver.answer = lambda _: web.Response(status=status)
        run_id = await ended(stored)
        await eventually(lambda: len(receiver.paths) > exporter.MAX_REFUSALS)
        receiver.answer = lambda _: None
        await all_exported(stored.database, "otlp")
    assert receiver.trace_ids == {run_id.hex}
    assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="refused") == 0


async def test_a_run_that_is_refused_five_times_is_dropped_and_counted_and_others_pass_it(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    bad, good = await ended(stored), await ended(stored)

    def picky(spans: list[Got]) -> web.Response | None:
        return web.Response(status=400, text="not this one") if spans[0].trace_id == bad.hex else None

    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target, refused_pauses_s=(0.01,)) as metrics,
    ):
        receiver.answer = picky
        await all_exported(stored.database, "otlp")
    assert receiver.trace_ids == {good.hex}
    assert len(receiver.paths) == exporter.MAX_REFUSALS + 1
    assert metrics.value("flowyard_export_failures_total", target="otlp", reason="refused") == exporter.MAX_REFUSALS
    assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="refused") == 1


async def test_a_run_that_brings_the_target_down_each_time_holds_no_other_up_and_is_dropped(stored: Stored) -> None:
    exports = await listening(stored.database, "otlp")
    bad = await ended(stored)
    good = {(await ended(stored)).hex for _ in range(10)}
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target, first_pause_s=0.05, refused_pauses_s=(0.01,)) as metrics,
    ):
        receiver.answer = lambda spans: web.Response(status=500) if spans[0].trace_id == bad.hex else None
        await eventually(lambda: receiver.trace_ids == good)
        while (await exports.backlog("otlp")).runs:
            good.add((await ended(stored)).hex)
            await eventually(lambda: receiver.trace_ids == good)
    assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="refused") == 1


@pytest.mark.parametrize(
    ("protocol", "partly"),
    [
        ("http/protobuf", b"\n\x04\x08\x01\x12\x00"),
        ("http/json", b'{"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too odd"}}'),
    ],
)
async def test_a_yes_that_means_no_is_a_refusal(stored: Stored, protocol: str, partly: bytes) -> None:
    await listening(stored.database, "otlp")
    await ended(stored)
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url, protocol=protocol) as target,
        exporters(stored.database, target, refused_pauses_s=(0.01,)) as metrics,
    ):
        receiver.answer = lambda _: web.Response(body=partly)
        await all_exported(stored.database, "otlp")
    assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="refused") == 1


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=400, text="no such key: sk-1234-5678"),
        web.Response(status=401, text="x" * 295 + "sk-1234-5678"),
        web.Response(body=b"\n\x11\x08\x01\x12\rsk-1234-5678!"),
    ],
    ids=["refused", "away", "partly"],
)
async def test_what_a_system_repeats_of_its_key_is_in_no_log(
    stored: Stored, answer: web.Response, caplog: pytest.LogCaptureFixture
) -> None:
    await listening(stored.database, "otlp")
    await ended(stored)
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url, headers={"authorization": "Bearer sk-1234-5678"}) as target,
        exporters(stored.database, target),
    ):
        receiver.answer = lambda _: web.Response(status=answer.status, body=answer.body)
        await eventually(lambda: "***" in caplog.text or "sk-1" in caplog.text)
    assert "sk-1" not in caplog.text
