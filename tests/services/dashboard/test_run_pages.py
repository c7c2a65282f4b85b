from __future__ import annotations

import json
import re
from uuid import UUID

import httpx

from flowyard.control.cancel import cancel_run
from flowyard.control.parts import Control
from flowyard.runs.call_texts import CallTexts
from flowyard.storage.database import Database, dumps
from services.dashboard.conftest import HAIKU, apply, submit


async def test_runs_are_listed_page_by_page(client: httpx.AsyncClient, database: Database, control: Control) -> None:
    name = await apply(database, HAIKU)
    ids = [await submit(control, name, topic=str(n)) for n in range(33)]
    first = (await client.get("/runs")).text
    older = re.findall(r'href="(/runs\?before=[^"]+)"', first)[0]
    second = (await client.get(older)).text
    assert re.findall(r'<tr id="run-([^"]+)"', first + second) == sorted(ids, reverse=True)
    assert "sse-connect" in first
    assert "sse-connect" not in second


async def test_runs_are_filtered(client: httpx.AsyncClient, database: Database, control: Control) -> None:
    for flow in ("haiku", "other"):
        await apply(database, {**HAIKU, "flow": {"name": flow}})
    kept, gone, other = [await submit(control, name, topic="x") for name in ("haiku", "haiku", "other")]
    await cancel_run(control, UUID(gone))
    page = (await client.get("/runs?workflow=haiku&status=queued")).text
    assert re.findall(r'<tr id="run-([^"]+)"', page) == [kept]
    assert other not in page


async def test_what_can_be_done_depends_on_the_status(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="x")
    page = (await client.get(f"/runs/{run_id}")).text
    assert f'action="/runs/{run_id}/cancel"' in page
    assert f'action="/runs/{run_id}/retry"' not in page
    assert (await client.post(f"/runs/{run_id}/cancel")).headers["location"] == f"/runs/{run_id}"
    page = (await client.get(f"/runs/{run_id}")).text
    assert '<span class="badge cancelled">cancelled</span>' in page
    assert f'action="/runs/{run_id}/cancel"' not in page
    refused = await client.post(f"/runs/{run_id}/retry")
    assert refused.status_code == 409
    assert "it can&#39;t be retried" in refused.text


async def test_a_run_is_forked_with_changed_inputs(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="x")
    forked = await client.post(f"/runs/{run_id}/fork", data={"from": "START", "changes": '{"topic": "y"}'})
    run = await control.runs.get(UUID(forked.headers["location"].removeprefix("/runs/")))
    assert (run.inputs, str(run.forked_from)) == ({"topic": "y"}, run_id)
    for start, changes, message in [
        ("START", "{", "This isn&#39;t JSON"),
        ("START", "[]", "as a JSON object"),
        ("START", '{"topic": 1}', "expected str, got int"),
        ("write:1", "{}", "hasn&#39;t begun it"),
        ("nonsense", "{}", "Choose the step"),
    ]:
        answer = await client.post(f"/runs/{run_id}/fork", data={"from": start, "changes": changes})
        assert answer.status_code in (404, 422)
        assert message in answer.text


async def test_a_fork_by_the_newest_revision_is_previewed_and_started(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="x")
    await apply(database, {**HAIKU, "nodes": [{"id": "write", "prompt": "A long one: {topic}", "outputs": ["poem"]}]})
    choice = {"from": "revision:latest", "changes": ""}
    preview = await client.post(f"/runs/{run_id}/fork", data={**choice, "preview": "1"})
    assert (preview.status_code, preview.headers.get("location")) == (200, None)
    assert "Keeps no step. Executes first: write." in " ".join(preview.text.split())
    forked = await client.post(f"/runs/{run_id}/fork", data=choice)
    assert (await control.runs.get(UUID(forked.headers["location"].removeprefix("/runs/")))).revision == 2


async def test_a_failed_run_can_be_retried_and_what_is_unknown_is_called_so(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    run_id = UUID(await submit(control, await apply(database, HAIKU), topic="x"))
    error = '{"code": "provider_error", "message": "<b>no luck</b>", "node": "write"}'
    await database.execute(
        "UPDATE runs SET status = 'failed', started_at = now(), finished_at = now(), error = $2::text::json"
        " WHERE id = $1",
        run_id,
        error,
    )
    await database.execute(
        "INSERT INTO steps (run_id, visit, item, seq, tries, duration_s, started_at, node, status, handled, error)"
        " VALUES ($1, 1, -1, 3, 4, 1.5, now(), 'write', 'failed', 'fail', $2::text::json)",
        run_id,
        error,
    )
    await database.execute(
        "INSERT INTO model_calls (run_id, seq, visit, item, duration_s, at, node, provider, model)"
        " VALUES ($1, 2, 1, -1, 1, now(), 'write', 'p', 'm')",
        run_id,
    )
    page = (await client.get(f"/runs/{run_id}")).text
    assert "1 call · unknown tokens in · unknown out · cost unknown" in page
    assert page.count('<td class="right">unknown</td>') == 3
    assert "$0" not in page
    assert "&lt;b&gt;no luck&lt;/b&gt;" in page
    assert '<g class="place failed">' in page
    assert f'href="/runs/{run_id}?fork=write:1#fork"' in page
    assert (await client.post(f"/runs/{run_id}/retry")).status_code == 303
    assert (await control.runs.get(run_id)).status == "queued"


async def test_a_map_is_noted_with_its_items_and_not_with_itself(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    mapped = {
        **HAIKU,
        "state": {"fields": {"topics": {"type": "list[str]", "required": True}, "poem": "str", "all": "list[str]"}},
        "nodes": [{"id": "write", "prompt": "{item}", "outputs": ["poem"]}],
        "edges": [
            {"from": "START", "parallel": {"items_field": "topics", "target_node": "write", "collect_field": "all"}},
            {"from": "write", "to": "END"},
        ],
    }
    run_id = await submit(control, await apply(database, mapped), topics=["x", "y"])
    progress = json.dumps({"items": 2, "done": 2, "failed": 0})
    rows = f"(-1, 'map', '{progress}'), (0, 'step', '{{}}'), (1, 'step', '{{}}')"
    await database.execute(
        "INSERT INTO steps (run_id, node, visit, item, kind, outputs, status, seq, tries, started_at, duration_s)"
        " SELECT $1, 'write', 1, item, kind, outputs::json, 'succeeded', 2, 1, now(), 0.1"
        f" FROM (VALUES {rows}) AS s (item, kind, outputs)",
        UUID(run_id),
    )
    page = (await client.get(f"/runs/{run_id}")).text
    assert "2 times" in page
    assert "3 times" not in page
    assert "2 of 2 done" in page


async def test_what_was_said_in_a_call_is_shown_where_it_is_kept(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    run_id = UUID(await submit(control, await apply(database, HAIKU), topic="x"))
    said = CallTexts(({"role": "user", "content": "<b>why?</b> \ud800"},), "because", "hm")
    for seq, texts in ((2, dumps(said.data)), (3, None)):
        await database.execute(
            "INSERT INTO model_calls (run_id, seq, visit, item, duration_s, at, node, provider, model, texts)"
            " VALUES ($1, $2, 1, -1, 1, now(), 'write', 'p', 'm', $3)",
            run_id,
            seq,
            texts,
        )
    page = (await client.get(f"/runs/{run_id}")).text
    assert f'hx-get="/runs/{run_id}/calls/2"' in page
    assert page.count("Prompt and reply") == 1
    part = (await client.get(f"/runs/{run_id}/calls/2")).text
    assert [text in part for text in ("&lt;b&gt;why?&lt;/b&gt; ?", "because", "hm", "<h3>reasoning</h3>")] == [True] * 4
    assert part.count("data-copy") == 3
    assert (await client.get(f"/runs/{run_id}/calls/3")).status_code == 404
    assert (await client.get(f"/runs/{run_id}/calls/0")).status_code == 404
