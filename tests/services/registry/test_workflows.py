from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import httpx

from flowyard.bus import subjects
from flowyard.bus.connection import Bus
from flowyard.bus.messages import RunEvents, WorkflowChanged
from flowyard.storage.database import Database
from flowyard.storage.history import History
from flowyard.storage.runs import Runs
from flowyard.storage.workflows import Workflows
from services.registry.conftest import Registry, Starting
from support.hands import working_hands
from support.queued import submit
from support.waiting import eventually

HAIKU = """\
# A first workflow.
flow: {name: haiku, description: Writes.}
state:
  fields:
    topic: {type: str, required: true, description: what it is about}
    style: {type: 'str | null', default: null}
    poem: str
nodes:
  - id: write
    prompt: Write a haiku about {topic} in the style {style}.
    outputs: [poem]
"""
LOOP = (
    HAIKU
    + """\
edges:
  - {from: START, to: write}
  - {from: write, loop: {until: len(poem) > 5, max_iterations: 3, exit_to: END}}
"""
)


async def put(client: httpx.AsyncClient, document: str = HAIKU, name: str = "haiku", **how: Any) -> httpx.Response:
    return await client.put(f"/v1/workflows/{quote(name, safe='')}", content=document.encode(), **how)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


async def test_a_first_document_makes_a_workflow(client: httpx.AsyncClient) -> None:
    response = await put(client)
    assert (response.status_code, response.headers["location"]) == (201, "/v1/workflows/haiku")
    applied = response.json()
    assert (applied["revision"], applied["created"], applied["restores"], applied["warnings"]) == (1, True, None, [])


async def test_the_same_content_changes_nothing_whatever_its_layout(client: httpx.AsyncClient) -> None:
    first = (await put(client)).json()
    again = await put(client, HAIKU.replace("# A first workflow.", "# Another remark"))
    assert again.status_code == 200
    assert again.json() == {**first, "created": False}


async def test_another_content_makes_another_revision(client: httpx.AsyncClient) -> None:
    await put(client)
    response = await put(client, LOOP)
    assert response.status_code == 200
    assert (response.json()["revision"], response.json()["created"]) == (2, True)


async def test_a_document_is_taken_as_any_type_of_content(client: httpx.AsyncClient) -> None:
    assert (await put(client)).status_code == 201
    for content_type in ("application/yaml", "text/yaml", "text/plain", "application/json"):
        assert (await put(client, headers={"content-type": content_type})).status_code == 200


async def test_a_document_may_be_json(client: httpx.AsyncClient) -> None:
    fields = {"poem": "str"}
    nodes = [{"id": "write", "prompt": "Write.", "outputs": ["poem"]}]
    response = await client.put(
        "/v1/workflows/a", json={"flow": {"name": "a"}, "state": {"fields": fields}, "nodes": nodes}
    )
    assert response.status_code == 201


async def test_every_mistake_is_reported_with_its_place(client: httpx.AsyncClient) -> None:
    broken = HAIKU.replace("outputs: [poem]", "outputs: [peom]").replace("prompt:", "promt:")
    response = await put(client, broken, params={"file": "haiku.yaml"})
    assert problem(response) == (422, "invalid_document")
    shown = {p["code"]: p for p in response.json()["problems"]}
    assert shown["unknown-key"] == {
        "file": "haiku.yaml",
        "line": 10,
        "column": 5,
        "severity": "error",
        "code": "unknown-key",
        "message": shown["unknown-key"]["message"],
        "suggestion": "did you mean 'prompt'?",
    }
    assert len(shown) > 1
    assert response.json()["detail"].startswith("haiku.yaml:")


async def test_what_is_no_document_is_refused_as_such(client: httpx.AsyncClient) -> None:
    for body in (b"", b"\xff\xfe", b"flow: [", b"null", b"\0"):
        assert problem(await client.put("/v1/workflows/haiku", content=body)) == (422, "invalid_document"), body


async def test_warnings_come_with_the_success(client: httpx.AsyncClient) -> None:
    response = await put(client, HAIKU + "config: {storage: {type: redis}, execution: {concurrency: 2}}\n")
    (warning,) = response.json()["warnings"]
    assert (warning["severity"], warning["line"]) == ("warning", 12)


async def test_a_document_with_another_name_is_refused(client: httpx.AsyncClient) -> None:
    response = await put(client, name="limerick")
    assert problem(response) == (422, "invalid_request")
    assert "'haiku', not 'limerick'" in response.json()["detail"]
    assert (await client.get("/v1/workflows")).json()["items"] == []


async def test_limits_of_a_document_become_those_of_its_workflow(client: httpx.AsyncClient) -> None:
    await put(client, HAIKU + "config: {execution: {concurrency: 99999999999999, priority: -3}}\n")
    shown = (await client.get("/v1/workflows/haiku")).json()
    assert (shown["concurrency"], shown["priority"]) == (2**31 - 1, -3)


async def test_the_limits_of_inputs_are_shown_with_their_schema(client: httpx.AsyncClient) -> None:
    fields = "kind: {type: str, enum: [calm, loud], default: calm}\n    stars: {type: int, min: 1, required: true}"
    await put(client, HAIKU.replace("    poem: str", f"    {fields}\n    poem: str"))
    inputs = {each["name"]: each for each in (await client.get("/v1/workflows/haiku")).json()["inputs"]}
    assert inputs["kind"]["type"] == "'calm' | 'loud'"
    assert inputs["kind"]["json_schema"] == {"type": "string", "enum": ["calm", "loud"]}
    assert inputs["stars"]["json_schema"] == {"type": "integer", "minimum": 1}


async def test_a_document_that_is_too_large_is_refused(client: httpx.AsyncClient) -> None:
    assert problem(await put(client, HAIKU + "#" * 1_100_000)) == (413, "too_large")


async def test_a_workflow_is_shown_with_its_inputs_and_its_graph(client: httpx.AsyncClient) -> None:
    await put(client, LOOP)
    shown = (await client.get("/v1/workflows/haiku")).json()
    assert (shown["document"], shown["description"], shown["problems"]) == (LOOP, "Writes.", [])
    topic, style = shown["inputs"]
    assert (topic["name"], topic["type"], topic["required"], topic["description"]) == (
        "topic",
        "str",
        True,
        "what it is about",
    )
    assert (style["type"], style["required"], style["default"]) == ("str | null", False, None)
    assert topic["json_schema"] == {"type": "string"}
    assert [(n["id"], n["kind"]) for n in shown["graph"]["nodes"]] == [
        ("START", "start"),
        ("write", "prompt"),
        ("END", "end"),
    ]
    assert [(e["source"], e["target"], e["kind"], e["label"]) for e in shown["graph"]["edges"]] == [
        ("START", "write", "next", ""),
        ("write", "write", "again", "at most 3 times"),
        ("write", "END", "exit", "len(poem) > 5"),
    ]


async def test_a_stored_document_that_this_version_refuses_is_still_shown(
    client: httpx.AsyncClient, database: Database
) -> None:
    await Workflows(database).apply("haiku", digest="old", document="flow: {name: haiku}", concurrency=None, priority=0)
    shown = (await client.get("/v1/workflows/haiku")).json()
    assert shown["document"] == "flow: {name: haiku}"
    assert {p["severity"] for p in shown["problems"]} == {"error"}
    await put(client)
    assert problem(await client.post("/v1/workflows/haiku/rollback", json={"revision": 1})) == (422, "invalid_document")


async def test_lists_come_in_pages(client: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await put(client, HAIKU.replace("name: haiku", f"name: {name}"), name)
    first = (await client.get("/v1/workflows", params={"limit": 2})).json()
    assert [w["name"] for w in first["items"]] == ["a", "b"]
    rest = (await client.get("/v1/workflows", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert ([w["name"] for w in rest["items"]], rest["next_cursor"]) == (["c"], None)
    assert [w["name"] for w in (await client.get("/v1/workflows", params={"search": "B"})).json()["items"]] == ["b"]


async def test_revisions_come_in_pages_with_their_documents_apart(client: httpx.AsyncClient) -> None:
    for n in range(3):
        await put(client, HAIKU.replace("Writes.", f"Writes {n}."))
    first = (await client.get("/v1/workflows/haiku/revisions", params={"limit": 2})).json()
    assert [r["number"] for r in first["items"]] == [3, 2]
    rest = (await client.get("/v1/workflows/haiku/revisions", params={"cursor": first["next_cursor"]})).json()
    assert ([r["number"] for r in rest["items"]], rest["next_cursor"]) == ([1], None)
    revision = (await client.get("/v1/workflows/haiku/revisions/1")).json()
    assert "Writes 0." in revision["document"]


async def test_the_difference_of_two_revisions_names_sections_and_lines(client: httpx.AsyncClient) -> None:
    await put(client)
    await put(client, LOOP)
    shown = (await client.get("/v1/workflows/haiku/diff", params={"from": 1, "to": 2})).json()
    assert (shown["older"], shown["newer"], shown["sections"]) == (1, 2, ["edges"])
    assert "+++ haiku revision 2" in shown["text"]
    assert "\n+edges:" in shown["text"]
    assert (await client.get("/v1/workflows/haiku/diff")).json() == shown
    back = (await client.get("/v1/workflows/haiku/diff", params={"from": 2, "to": 1})).json()
    assert "\n-edges:" in back["text"]
    assert (await client.get("/v1/workflows/haiku/diff", params={"from": 2})).json()["text"] == ""


async def test_the_difference_of_long_documents_doesnt_take_long(client: httpx.AsyncClient) -> None:
    def repeating(lines: int) -> str:
        return "\n".join(f"# {i % lines}" for i in range(100_000))

    await put(client, f"{HAIKU}{repeating(190)}\n# the end")
    await put(client, f"{HAIKU.replace('Writes.', 'Writes it.')}{repeating(187)}\n# the end")
    shown = await client.get("/v1/workflows/haiku/diff", timeout=5)
    lines = shown.json()["text"].splitlines()
    assert lines[2:6] == [
        "@@ -1,100012 +1,100012 @@",
        " # A first workflow.",
        "-flow: {name: haiku, description: Writes.}",
        "-state:",
    ]
    assert lines[-1] == " # the end"


async def test_a_rollback_brings_an_older_document_and_its_limits_back(client: httpx.AsyncClient) -> None:
    await put(client, HAIKU + "config: {execution: {concurrency: 2}}\n")
    await put(client)
    response = await client.post("/v1/workflows/haiku/rollback", json={"revision": 1})
    assert response.status_code == 200
    assert (response.json()["revision"], response.json()["restores"], response.json()["created"]) == (3, 1, True)
    shown = (await client.get("/v1/workflows/haiku")).json()
    assert (shown["revision"], shown["concurrency"]) == (3, 2)
    again = await client.post("/v1/workflows/haiku/rollback", json={"revision": 3})
    assert (again.json()["revision"], again.json()["created"]) == (3, False)


async def test_what_does_not_exist_is_reported_by_its_code(client: httpx.AsyncClient) -> None:
    await put(client)
    for path in ("", "/revisions", "/revisions/1", "/diff"):
        response = await client.get(f"/v1/workflows/haikku{path}")
        assert problem(response) == (404, "unknown_workflow")
        assert "did you mean 'haiku'?" in response.json()["detail"]
    for path in ("/revisions/7", "/diff?from=7"):
        assert problem(await client.get(f"/v1/workflows/haiku{path}")) == (404, "unknown_revision")
    for name, code in (("haikku", "unknown_workflow"), ("haiku", "unknown_revision")):
        response = await client.post(f"/v1/workflows/{name}/rollback", json={"revision": 7})
        assert problem(response) == (404, code)
    assert problem(await client.delete("/v1/workflows/haikku")) == (404, "unknown_workflow")


WRONG = [
    ("GET", "/v1/workflows/%00"),
    ("GET", "/v1/workflows/" + "a" * 129),
    ("GET", "/v1/workflows?search=%00"),
    ("GET", "/v1/workflows?cursor=%00"),
    ("GET", "/v1/workflows?limit=0"),
    ("GET", "/v1/workflows/haiku/revisions/0"),
    ("GET", "/v1/workflows/haiku/revisions/99999999999"),
    ("GET", "/v1/workflows/haiku/diff?from=x"),
    ("PUT", "/v1/workflows/haiku?file=%0A"),
    ("POST", "/v1/workflows/haiku/rollback"),
    ("DELETE", "/v1/workflows/haiku?force=perhaps"),
]


async def test_a_request_of_the_wrong_shape_is_refused(client: httpx.AsyncClient) -> None:
    for method, path in WRONG:
        assert problem(await client.request(method, path)) == (422, "invalid_request"), path


async def test_a_deleted_workflow_is_gone(client: httpx.AsyncClient) -> None:
    await put(client)
    response = await client.delete("/v1/workflows/haiku")
    assert (response.status_code, response.json()) == (200, {"name": "haiku", "cancelled": [], "cancelling": []})
    assert problem(await client.get("/v1/workflows/haiku")) == (404, "unknown_workflow")


async def test_a_workflow_with_open_runs_is_deleted_only_by_force(
    client: httpx.AsyncClient, database: Database, bus: Bus
) -> None:
    await put(client)
    run_id = await submit(database, "haiku")
    refused = await client.delete("/v1/workflows/haiku")
    assert problem(refused) == (409, "workflow_in_use")
    assert refused.json()["open_runs"] == 1
    received: asyncio.Queue[RunEvents] = asyncio.Queue()
    async with bus.subscribe(subjects.ANY_RUN_EVENTS, RunEvents, received.put):
        response = await client.delete("/v1/workflows/haiku", params={"force": True})
        assert response.json()["cancelled"] == [str(run_id)]
        message = await asyncio.wait_for(received.get(), 5)
    assert (message.run_id, message.has_moved) == (run_id, True)


async def test_the_calls_that_a_deleted_workflows_run_lost_with_its_executor_are_counted_and_announced(
    client: httpx.AsyncClient, database: Database, bus: Bus
) -> None:
    await put(client)
    run_id = await submit(database, "haiku")
    async with working_hands(database, bus) as hands:
        await hands.leave_in_a_call(await hands.take(), "write", provider="scripted", model="m")
    announced: asyncio.Queue[RunEvents] = asyncio.Queue()
    async with bus.subscribe(subjects.fill(subjects.ANY_RUN_EVENTS, str(run_id)), RunEvents, announced.put):
        response = await client.delete("/v1/workflows/haiku", params={"force": True})
        assert response.json()["cancelled"] == [str(run_id)]
        message = await asyncio.wait_for(announced.get(), 5)
    stored = await History(database).entries(run_id)
    assert [entry.type for entry in stored][-2:] == ["model.called", "run.cancelled"]
    assert (message.last_seq, message.has_moved) == (stored[-1].seq, True)
    metrics = (await client.get("/metrics")).text
    assert 'flowyard_model_errors_total{code="executor_lost",model="m",provider="scripted"} 1.0' in metrics


async def test_a_run_whose_workflow_is_gone_is_cancelled_by_the_next_sweep(
    starting: Starting, database: Database
) -> None:
    async with starting(sweep_s=0.05) as registry:
        await put(registry.client)
        run_id = await submit(database, "haiku")
        await database.execute("DELETE FROM workflows")

        async def cancelled() -> bool:
            return (await Runs(database).get(run_id)).status == "cancelled"

        await eventually(cancelled)


async def test_changes_are_announced_and_only_changes(client: httpx.AsyncClient, bus: Bus) -> None:
    received: asyncio.Queue[WorkflowChanged] = asyncio.Queue()
    async with bus.subscribe(subjects.WORKFLOWS_CHANGED, WorkflowChanged, received.put):
        await put(client)
        await put(client)
        await put(client, LOOP)
        await client.post("/v1/workflows/haiku/rollback", json={"revision": 1})
        await client.delete("/v1/workflows/haiku")
        names = [(await asyncio.wait_for(received.get(), 5)).name for _ in range(4)]
        await asyncio.sleep(0.05)  # one announcement too many would come in this time
    assert (names, received.qsize()) == (["haiku"] * 4, 0)


async def test_a_document_can_be_checked_without_applying_it(client: httpx.AsyncClient) -> None:
    good = (await client.post("/v1/validate", content=HAIKU.encode())).json()
    assert good == {"valid": True, "name": "haiku", "problems": []}
    bad = (await client.post("/v1/validate", content=b"flow: {}")).json()
    assert (bad["valid"], bad["name"]) == (False, None)
    assert bad["problems"]
    assert problem(await client.post("/v1/validate")) == (422, "invalid_request")
    assert (await client.get("/v1/workflows")).json()["items"] == []


async def test_the_schema_of_documents_is_served(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/v1/schema")).json()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"flow", "state", "nodes"} <= set(schema["properties"])


async def test_who_may_only_read_changes_nothing(registry: Registry) -> None:
    for scope in ("read", "run"):
        async with registry.as_one_who_may(scope) as client:
            assert problem(await put(client)) == (403, "forbidden")
            assert problem(await client.delete("/v1/workflows/haiku")) == (403, "forbidden")
            assert (await client.get("/v1/workflows")).status_code == 200


async def test_names_with_odd_characters_work_as_far_as_a_path_can_hold_them(client: httpx.AsyncClient) -> None:
    for name in ("ünïcode ☃", "a.b-c_d", "100%", "what?", "#1", "validate"):
        document = HAIKU.replace("name: haiku", f"name: {name!r}")
        assert (await put(client, document, name)).status_code == 201
        assert (await client.get(f"/v1/workflows/{quote(name, safe='')}")).json()["name"] == name


BUDGET = "config: {llm: {provider: hosted_vllm, model: qwen3}, budget: {usd: 1}}\n"


async def test_a_budget_in_dollars_needs_a_price_when_a_document_is_applied(starting: Starting) -> None:
    async with starting() as registry:
        refused = await put(registry.client, HAIKU + BUDGET)
        checked = await registry.client.post("/v1/validate", content=(HAIKU + BUDGET).encode())
    assert refused.status_code == 422
    assert [(each["code"], each["line"]) for each in refused.json()["problems"]] == [("unknown-price", 12)]
    assert [each["code"] for each in checked.json()["problems"]] == ["unknown-price"]
    async with starting(prices='{"hosted_vllm/*": {"input": 0.1, "output": 0.4}}') as registry:
        assert (await put(registry.client, HAIKU + BUDGET)).status_code == 201
    # The installation's price is gone.
    async with starting() as registry:
        assert (await registry.client.post("/v1/workflows/haiku/rollback", json={"revision": 1})).status_code == 422
        assert (await registry.client.get("/v1/workflows/haiku")).json()["problems"] == []
