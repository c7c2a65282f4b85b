from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from flowyard.control.cancel import cancel_run
from flowyard.control.parts import Control
from flowyard.runs.call_texts import CallTexts
from flowyard.storage.database import Database, dumps
from flowyard_dashboard.assets import AssetsMissing, load_assets
from services.dashboard.conftest import HAIKU, apply, submit

BAD = "<img src=x onerror=alert(1)>\"'</textarea></script>"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
EVERY_TYPE = {
    **HAIKU,
    "flow": {"name": "types"},
    "state": {
        "fields": {
            "text": {"type": "str", "required": True, "description": "what it is about"},
            "line": {"type": "str", "default": "short"},
            "whole": {"type": "int", "default": 3},
            "real": {"type": "float", "required": True},
            "flag": {"type": "bool", "default": True},
            "maybe": {"type": "bool | null", "default": None},
            "names": {"type": "list[str]", "default": ["a"]},
            "limits": {"type": "dict[str, int]", "required": True},
            "note": {"type": "str | null", "required": True},
            "kind": {"type": "str", "enum": ["calm", "loud"], "required": True},
            "mood": {"type": "'a' | 'b' | null", "default": "a"},
            "stars": {"type": "int", "min": 1, "max": 5, "default": 3},
            "day": {"type": "date", "default": "2026-01-31"},
            "poem": "str",
        }
    },
    "nodes": [{"id": "write", "prompt": "{text}", "outputs": ["poem"]}],
}
FILLED = {
    "input.text": "rain\r\nand snow",
    "input.line": "",
    "input.whole": "-2",
    "input.real": "1",
    "input.names": "[]",
    "input.kind": "loud",
    "input.mood": "",
    "input.stars": "4",
    "input.day": "2026-02-01",
}


async def test_without_anything_pages_say_what_to_do(client: httpx.AsyncClient) -> None:
    assert "No workflows yet: <code>flowyard apply FILE</code>" in (await client.get("/workflows")).text
    assert "No runs yet" in (await client.get("/runs")).text
    assert "No failed runs." in (await client.get("/runs?status=failed")).text
    assert "No workflow has “x”" in (await client.get("/workflows?q=x")).text


async def test_every_answer_has_the_strict_policy(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, HAIKU)
    for path in ("/login", "/", "/workflows", "/workflows/haiku", "/runs", "/nowhere", "/health/live"):
        answer = await client.get(path)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


async def test_no_page_has_anything_from_elsewhere_or_inline(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    run_id = await submit(control, await apply(database, HAIKU), topic="rain")
    for path in ("/login", "/workflows", "/workflows/haiku", "/runs", f"/runs/{run_id}"):
        page = (await client.get(path)).text
        for address in re.findall(r'(?:src|href|action|sse-connect|hx-get)="([^"]*)"', page):
            assert re.match(r"/(?!/)|#", address), address
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|hx-on|javascript:", page)


async def test_assets_are_ours_and_kept_for_ever(client: httpx.AsyncClient) -> None:
    page = (await client.get("/login")).text
    addresses = re.findall(r'"(/static/[^"]+)"', page)
    assert {address.rpartition("/")[2] for address in addresses} == {
        "app.css", "app.js", "icon.svg", "htmx.min.js", "sse.min.js"
    }  # fmt: skip
    for address in addresses:
        answer = await client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        plain = await client.get(address, headers={"accept-encoding": "identity"})
        assert plain.content == answer.content
        assert not re.search(rb"(?:src|href|url|import)\W{1,3}https?://", plain.content)
    assert (await client.get("/static/0123456789abcdef/app.css")).status_code == 404


def test_without_its_scripts_the_service_says_what_to_run(tmp_path: Path) -> None:
    for name in ("app.css", "app.js", "icon.svg"):
        (tmp_path / name).write_text("")
    with pytest.raises(AssetsMissing, match=r"need vendor/htmx\.min\.js: run `make setup`"):
        load_assets(tmp_path)


async def test_a_form_is_made_from_the_fields(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, EVERY_TYPE)
    page = (await client.get("/workflows/types")).text
    controls = dict(re.findall(r'(<(?:input|textarea|select)[^>]*) name="input\.(\w+)"', page))
    kinds = {name: start.split(" id=")[0] for start, name in controls.items()}
    assert 'type="text" id' in page
    assert kinds["text"] == "<textarea"
    assert kinds["whole"] == '<input type="number" step="1"'
    assert kinds["real"] == '<input type="number" step="any"'
    assert kinds["flag"] == '<input type="checkbox"'
    assert kinds["maybe"] == "<select"
    assert kinds["limits"] == "<textarea"
    assert kinds["stars"] == '<input type="number" step="1"'
    assert kinds["day"] == '<input type="text"'
    assert re.findall(r'name="input.kind" required>(.*)</select>', page) == [
        '<option value="" selected>…</option><option value="calm">calm</option><option value="loud">loud</option>'
    ]
    assert re.findall(r'name="input.mood">(.*)</select>', page) == [
        '<option value="">null</option><option value="a" selected>a</option><option value="b">b</option>'
    ]
    assert "what it is about" in page
    assert 'value="short"' in page
    assert "poem" not in kinds


async def test_what_is_typed_becomes_the_inputs(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    await apply(database, EVERY_TYPE)
    given = {**FILLED, "input.limits": '{"a": 1}', "input.maybe": "false", "input.note": ""}
    answer = await client.post("/workflows/types/runs", data=given)
    assert answer.status_code == 303
    run = await control.runs.get(UUID(answer.headers["location"].removeprefix("/runs/")))
    assert run.inputs == {
        "text": "rain\nand snow", "line": "", "whole": -2, "real": 1.0, "flag": False, "maybe": False, "names": [],
        "limits": {"a": 1}, "note": None, "kind": "loud", "mood": None, "stars": 4, "day": "2026-02-01",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "typed", "message"),
    [
        ("text", "", "This input is required."),
        ("limits", "", "This input is required."),
        ("limits", '{"a": ', "This isn&#39;t JSON"),
        ("limits", '{"a": "b"}', "a: expected int, got str"),
        ("limits", "[" * 100_000, "This JSON nests too deeply."),
        ("whole", "many", "This isn&#39;t a number."),
        ("whole", "1.5", "expected int, got float 1.5"),
        ("real", "1e999", "t a finite number"),
        ("whole", "9" * 5000, "expected int"),
    ],
)
async def test_what_is_wrong_is_shown_next_to_its_field(
    client: httpx.AsyncClient, database: Database, control: Control, field: str, typed: str, message: str
) -> None:
    await apply(database, EVERY_TYPE)
    answer = await client.post("/workflows/types/runs", data={**FILLED, "input.limits": "{}", f"input.{field}": typed})
    assert answer.status_code == 422
    place = answer.text.split(f'name="input.{field}"')[1].split('class="field"')[0]
    assert message in place
    assert 'role="alert"' in place
    assert 'value="-2"' in answer.text or field == "whole"
    assert (await control.queue_measures.depths())["queued"] == 0


async def test_a_form_that_is_sent_twice_leads_to_one_run(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    await apply(database, HAIKU)
    once = re.findall(r'name="once" value="([^"]+)"', (await client.get("/workflows/haiku")).text)[0]
    both = [
        (await client.post("/workflows/haiku/runs", data={"once": once, "input.topic": "rain"})).headers["location"]
        for _ in range(2)
    ]
    assert both[0] == both[1]
    await client.post("/workflows/haiku/runs", data={"once": once, "input.topic": "snow"})
    assert (await control.queue_measures.depths())["queued"] == 2


def hostile() -> dict[str, Any]:
    fields = {"topic": {"type": "str", "required": True, "description": BAD}, "poem": "str"}
    node = {"id": "write", "name": BAD, "prompt": "{topic}", "outputs": ["poem"]}
    name = BAD.replace("/", "")
    return {**HAIKU, "flow": {"name": name, "description": BAD}, "state": {"fields": fields}, "nodes": [node]}


async def test_whatever_people_write_is_shown_and_never_obeyed(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    name = await apply(database, hostile())
    run_id = await submit(control, name, topic=BAD + "\0")
    pages = [
        await client.get("/workflows"),
        await client.get(f"/workflows?q={httpx.QueryParams({'x': BAD})['x']}"),
        await client.get(httpx.URL("/workflows/" + name.replace(" ", "%20").replace("<", "%3C").replace(">", "%3E"))),
        await client.get("/runs", params={"workflow": name}),
        await client.get(f"/runs/{run_id}"),
        await client.get(f"/runs/{run_id}", params={"fork": BAD}),
        await client.post(f"/runs/{run_id}/fork", data={"from": BAD, "changes": BAD}),
        await client.get("/login", params={"next": f"/{BAD}"}),
        await client.get(f"/{BAD}"),
    ]
    for page in pages:
        assert "<img src=x" not in page.text, page.url
        assert "</textarea></script>" not in page.text, page.url
    assert sum("&lt;img src=x" in page.text for page in pages) >= 6


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere", "/workflows/unknown", "/workflows/a%00b", "/workflows/a%2Fb", "/runs/nonsense",
        "/runs/01a206af-a90f-7a31-9cc4-6ad022b9206d", "/runs/01a206af-a90f-7a31-9cc4-6ad022b9206d/live",
    ],
)  # fmt: skip
async def test_what_does_not_exist_is_an_error_on_a_page(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert '<a href="/workflows">' in answer.text


async def test_odd_questions_have_answers(client: httpx.AsyncClient) -> None:
    for path in (
        "/workflows?q=%00",
        "/workflows?after=%00",
        "/runs?workflow=%00",
        "/runs?before=x",
        "/runs?status=x%00",
    ):
        assert (await client.get(path)).status_code in (200, 404)


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


async def test_the_list_of_workflows_shows_how_their_runs_end(
    client: httpx.AsyncClient, database: Database, control: Control
) -> None:
    name = await apply(database, HAIKU)
    await cancel_run(control, UUID(await submit(control, name, topic="x")))
    await submit(control, name, topic="x")
    page = (await client.get("/workflows?q=HAI")).text
    assert '<span class="badge queued">queued</span>' in page
    assert '<span class="count cancelled" title="cancelled">1' in page
    assert '<span class="count running" title="open">1' in page


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


async def test_a_form_that_is_too_large_is_refused(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, HAIKU)
    assert (await client.post("/workflows/haiku/runs", data={"input.topic": "x" * 1_100_000})).status_code == 413
    assert (await client.post("/workflows/haiku/runs", data={"input.topic": "x" * 4_300_000})).status_code == 413


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
    assert page.count("What was said") == 1
    part = (await client.get(f"/runs/{run_id}/calls/2")).text
    assert [text in part for text in ("&lt;b&gt;why?&lt;/b&gt; ?", "because", "hm", "<h3>reasoning</h3>")] == [True] * 4
    assert part.count("data-copy") == 3
    assert (await client.get(f"/runs/{run_id}/calls/3")).status_code == 404
    assert (await client.get(f"/runs/{run_id}/calls/0")).status_code == 404
