"""How runs get to those who want to know of them: in spite of outages, and not twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from aiohttp import web

from flowyard.export import exporter
from flowyard.export.finished_run import FinishedRun, RunReader
from flowyard.storage.exports import Exports
from flowyard_embedded.servers.ports import free_port
from support.exporting import all_exported, ended, exporters, listening, mlflow_target, otlp_target
from support.finished_runs import ORIGIN
from support.otlp import otlp_receiver
from support.stored import Stored, commit_of, entries_json
from support.waiting import eventually


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
@pytest.mark.parametrize("compressed", [False, True])
async def test_a_run_comes_over_the_wire_as_the_protocol_has_it(
    stored: Stored,
    protocol: str,
    compressed: bool,  # noqa: FBT001
) -> None:
    await listening(stored.database, "otlp")
    headers = {"authorization": "Bearer abc"}
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url, protocol=protocol, compressed=compressed, headers=headers) as target,
        exporters(stored.database, target) as metrics,
    ):
        run_id = await ended(stored)
        await all_exported(stored.database, "otlp")
    [span] = receiver.spans
    assert (span.trace_id, span.name, span.error) == (run_id.hex, "invoke_workflow test", None)
    assert span.resource == {"service.name": "flowyard"}
    assert (receiver.paths, receiver.headers[0]["authorization"]) == (["/v1/traces"], "Bearer abc")
    run = await stored.runs.get(run_id)
    assert run.finished_at is not None
    assert span.end_ns - span.start_ns == round((run.finished_at - run.created_at).total_seconds() * 1e6) * 1000
    assert metrics.value("flowyard_export_runs_total", target="otlp") == 1


async def test_a_fork_points_to_the_span_of_its_origin(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    origin = await ended(stored)
    run_id = await ended(stored)
    await stored.database.execute("UPDATE runs SET forked_from = $1 WHERE id = $2", origin, run_id)
    async with otlp_receiver() as receiver, otlp_target(receiver.url) as target, exporters(stored.database, target):
        await all_exported(stored.database, "otlp")
    [first], [fork] = receiver.of(origin), receiver.of(run_id)
    assert fork.links == [(first.trace_id, first.span_id)]
    assert origin != ORIGIN


async def test_runs_that_ended_while_a_target_was_away_are_exported_when_it_is_back(stored: Stored) -> None:
    port = free_port()
    await listening(stored.database, "otlp")
    async with otlp_target(f"http://127.0.0.1:{port}") as target, exporters(stored.database, target) as metrics:
        runs = [await ended(stored) for _ in range(20)]
        failed = "flowyard_export_failures_total"
        await eventually(lambda: metrics.value(failed, target="otlp", reason="unreachable"))
        async with otlp_receiver(port) as receiver:
            await all_exported(stored.database, "otlp")
            assert receiver.trace_ids == {run_id.hex for run_id in runs}
            assert len(receiver.spans) == len(runs)
    assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="refused") == 0


async def test_what_a_registry_was_exporting_when_it_ended_is_exported_by_the_next_one_at_once(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    async with otlp_receiver() as receiver, otlp_target(receiver.url) as target:
        receiver.hangs = True
        run_id = await ended(stored)
        async with exporters(stored.database, target):
            await eventually(lambda: taken(stored, run_id))
        receiver.hangs = False
        async with exporters(stored.database, target):
            await all_exported(stored.database, "otlp", within_s=15)
    assert receiver.trace_ids == {run_id.hex}


async def taken(stored: Stored, run_id: UUID) -> bool:
    statement = "SELECT taken_until IS NOT NULL FROM exports WHERE run_id = $1"
    return bool(await stored.database.value(statement, run_id))


async def test_a_receiver_that_never_answers_holds_up_no_other(stored: Stored) -> None:
    await listening(stored.database, "hole", "otlp")
    async with (
        otlp_receiver() as hole,
        otlp_receiver() as receiver,
        otlp_target(hole.url, name="hole", timeout_s=0.5) as deaf,
        otlp_target(receiver.url) as target,
        exporters(stored.database, deaf, target) as metrics,
    ):
        hole.hangs = True
        runs = [await ended(stored) for _ in range(10)]
        await all_exported(stored.database, "otlp", within_s=10)
        assert receiver.trace_ids == {run_id.hex for run_id in runs}
        await eventually(lambda: metrics.value("flowyard_export_failures_total", target="hole", reason="timeout"))
        hole.hangs = False
        await all_exported(stored.database, "hole", within_s=20)
    assert hole.trace_ids == receiver.trace_ids


async def test_a_target_in_trouble_is_left_alone_for_its_retry_after(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target) as metrics,
    ):
        receiver.answer = lambda _: web.Response(status=429, headers={"retry-after": "3"})
        await ended(stored)
        await eventually(lambda: receiver.paths)
        refused_at = time.monotonic()
        receiver.answer = lambda _: None
        await all_exported(stored.database, "otlp")
        assert time.monotonic() - refused_at > 2.5
    assert metrics.value("flowyard_export_failures_total", target="otlp", reason="unavailable") == 1


@asynccontextmanager
async def somebody_else() -> AsyncIterator[str]:
    """The address of a page that says yes to everything: a login, say."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<title>Log in</title>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", ["otlp", "mlflow"])
async def test_a_stranger_at_the_address_is_no_reason_to_drop_runs_or_to_call_them_exported(
    stored: Stored, name: str
) -> None:
    exports = await listening(stored.database, name)
    await ended(stored)
    async with (
        somebody_else() as url,
        otlp_target(url) if name == "otlp" else mlflow_target(url) as target,
        exporters(stored.database, target, first_pause_s=0.001) as metrics,
    ):
        failed = "flowyard_export_failures_total"
        await eventually(
            lambda: (metrics.value(failed, target=name, reason="unavailable") or 0) > exporter.MAX_REFUSALS
        )
        assert (await exports.backlog(name)).runs == 1
        assert metrics.value("flowyard_export_runs_total", target=name) == 0


async def test_a_registry_that_was_started_without_a_target_ends_it_for_no_other(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target, measure_every_s=0.1),
    ):
        await listening(stored.database)
        await asyncio.sleep(0.5)  # it measures several times
        run_id = await ended(stored)
        await eventually(lambda: receiver.trace_ids == {run_id.hex})


async def test_beyond_its_bound_the_oldest_of_a_backlog_are_dropped_and_counted(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    runs = [await ended(stored) for _ in range(7)]
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target, most_waiting=3) as metrics,
    ):
        await all_exported(stored.database, "otlp")
    assert receiver.trace_ids == {run_id.hex for run_id in runs[4:]}
    assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="backlog") == 4


async def test_a_run_that_is_gone_is_counted(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    run_id = await ended(stored)
    await stored.database.execute("DELETE FROM runs WHERE id = $1", run_id)
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target) as metrics,
    ):
        await all_exported(stored.database, "otlp")
    assert receiver.spans == []
    assert metrics.value("flowyard_export_dropped_runs_total", target="otlp", reason="gone") == 1


async def test_two_who_send_for_one_target_send_each_run_once(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    runs = [await ended(stored) for _ in range(30)]
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as one,
        otlp_target(receiver.url) as other,
        exporters(stored.database, one, other),
    ):
        await all_exported(stored.database, "otlp")
    assert sorted(span.trace_id for span in receiver.spans) == sorted(run_id.hex for run_id in runs)


async def test_a_retried_run_is_exported_again_with_the_ids_that_it_had(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    async with otlp_receiver() as receiver, otlp_target(receiver.url) as target, exporters(stored.database, target):
        run_id = await ended(stored, "failed")
        await all_exported(stored.database, "otlp")
        await stored.moves.retry(run_id)
        [claim] = await stored.claims.take("one", 1)
        await stored.finish(claim)
        await all_exported(stored.database, "otlp")
    before, after = receiver.of(run_id)
    assert (before.span_id, before.error is None, after.error) == (after.span_id, False, None)
    assert [name for name, _ in after.events] == ["run.queued", "run.failed", "run.queued", "run.succeeded"]


async def test_a_run_that_was_retried_before_its_export_is_exported_when_it_has_ended(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    run_id = await ended(stored, "failed")
    await stored.moves.retry(run_id)
    async with otlp_receiver() as receiver, otlp_target(receiver.url) as target, exporters(stored.database, target):
        await all_exported(stored.database, "otlp")
        assert receiver.spans == []
        [claim] = await stored.claims.take("one", 1)
        await stored.finish(claim)
        await eventually(lambda: receiver.spans)
    assert [span.error for span in receiver.spans] == [None]


async def test_a_run_that_ends_once_more_just_after_it_was_seen_open_is_exported_at_once(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    run_id = await ended(stored, "failed")
    await stored.moves.retry(run_id)

    class SlowReader(RunReader):
        """The run ends after it was read, and before the reader's block."""

        @asynccontextmanager
        async def read(self, run_id: UUID) -> AsyncIterator[FinishedRun | None]:
            async with super().read(run_id) as run:
                for claim in await stored.claims.take("one", 1):
                    await stored.finish(claim)
                yield run

    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target, reader=SlowReader(stored.database)),
    ):
        await eventually(lambda: receiver.spans)


async def test_a_run_whose_export_meets_a_bug_harms_no_other(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    broken, good = await ended(stored), await ended(stored)
    nonsense = json.dumps([[0, "step.started", {"visit": "no node"}]])
    await stored.database.execute("UPDATE events SET entries = $2::text::json WHERE run_id = $1", broken, nonsense)
    async with (
        otlp_receiver() as receiver,
        otlp_target(receiver.url) as target,
        exporters(stored.database, target, refused_pauses_s=(0.01,)) as metrics,
    ):
        await all_exported(stored.database, "otlp")
    assert receiver.trace_ids == {good.hex}
    assert metrics.value("flowyard_export_failures_total", target="otlp", reason="bug") == exporter.MAX_REFUSALS


async def test_a_long_run_comes_in_several_requests_and_whole(stored: Stored) -> None:
    await listening(stored.database, "otlp")
    claim = await stored.claimed()
    kinds = ["step.started", "step.failed"] * 700
    part = commit_of(claim, seq=claim.last_seq + len(kinds))
    entries = json.loads(entries_json(claim.last_seq + 1, *kinds))
    for number, entry in enumerate(entries):
        entry[2] = {"node": "write", "visit": number // 2 + 1}
        if entry[1] == "step.failed":
            entry[2].update(duration_s=1.0, handled="continue", error={"code": "timeout", "message": "slow"})
    part.entries = json.dumps(entries)
    await stored.committer.commit(part)
    await stored.finish(claim, seq=part.last_seq + 1)
    async with otlp_receiver() as receiver, otlp_target(receiver.url) as target, exporters(stored.database, target):
        await all_exported(stored.database, "otlp")
    assert len(receiver.paths) == 2
    assert len({span.span_id for span in receiver.of(claim.run_id)}) == 701


async def test_exports_outlive_an_outage_of_postgres(stored: Stored) -> None:
    exports = await listening(stored.database, "otlp")
    async with otlp_receiver() as receiver, otlp_target(receiver.url) as target, exporters(stored.database, target):
        await asyncio.sleep(0.1)  # it looks for runs several times
        await stored.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'flowyard-test' AND pid <> pg_backend_pid()"
        )

        async def one_more() -> bool:
            await ended(stored)
            return True

        await eventually(one_more)
        await eventually(lambda: _is_empty(exports))
        assert len(receiver.spans) == 1


async def _is_empty(exports: Exports) -> bool:
    return (await exports.backlog("otlp")).runs == 0
