from __future__ import annotations

import re
from uuid import UUID

import httpx
import pytest

from flowyard.control.parts import Control
from flowyard.storage.database import Database
from services.dashboard.conftest import HAIKU, apply

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
        ("limits", '{"a": ', "This isn&#39;t JSON: line 1 column 7: no value begins here."),
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


async def test_a_form_that_is_too_large_is_refused(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, HAIKU)
    assert (await client.post("/workflows/haiku/runs", data={"input.topic": "x" * 1_100_000})).status_code == 413
    assert (await client.post("/workflows/haiku/runs", data={"input.topic": "x" * 4_300_000})).status_code == 413
