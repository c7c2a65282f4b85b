"""An executor at work on a run whose values are as large as they may be, and made of as many parts as they can be."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import pytest

from abuse.conftest import Starting
from flowyard.containers import MOST_CONTAINERS
from flowyard.secrets.sealing import SecretBox, read_keys
from flowyard.storage.database import Database
from support import queued
from support.campaigns import Campaigns
from support.holding import LONGEST_OF_SERVICE_S, least_held_s
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Status, Text
from support.wire.openai import openai_server
from support.wire.server import Request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
LONG = pytest.mark.long

DENSE: Final[dict[str, Any]] = {
    "numbers": [1] * 500_000,
    "keys": {f"{number}": 1 for number in range(90_000)},
    "objects": [{"a": 1.5}] * 90_000,
    "lists": [{"a": []}] * (MOST_CONTAINERS // 2 - 1),
}
"""1 MB; the lists, half of it."""
EIGHT: Final = "['{xs}'" + ", '{xs}'" * 7 + "]"
DOCUMENT: Final = """\
flow: {name: dense}
state:
  fields:
    xs: {type: any, required: true}
    few: {type: 'list[int]', required: true}
    ys: any
    s: str
    each: 'list[int]'
    reply: any
    n: int
nodes:
  - {id: write, set: {ys: EIGHT}}
  - {id: render, set: {s: '{xs}{xs}{xs}{xs}{xs}'}}
  - {id: add, set: {n: {expr: 'item + 1'}}}
  - {id: ask, prompt: 'Say {xs}', outputs: [reply], retry: {max_retries: 1, initial_delay: 500ms}}
  - {id: check, assert: "ys != null and startswith(s, '{') or true", message: '{xs}'}
  - {id: choose, set: {n: 1}}
edges:
  - {from: START, to: write}
  - {from: write, to: render}
  - {from: render, parallel: {items_field: few, target_node: add, collect_field: each, item: item}}
  - {from: add, to: ask}
  - {from: ask, to: check}
  - {from: check, to: choose}
  - {from: choose, routes: [ROUTES, {default: END}]}
config:
  llm: {provider: hosted_vllm, model: m, api_base: 'URL'}
""".replace("ROUTES", ", ".join(f"{{condition: \"lower(s) == '{number}'\", to: END}}" for number in range(30))).replace(
    "EIGHT", EIGHT
)
"""Its run is handed back while it waits for the second call, and goes on from a snapshot."""


MULTIPLIED: Final = """\
flow: {name: multiplied}
state: {fields: {reply: any, ys: any}}
nodes:
  - {id: ask, prompt: 'Say', outputs: [reply], retry: 0}
  - {id: write, set: {ys: EIGHT}}
edges: [{from: START, to: ask}, {from: ask, to: write}, {from: write, to: END}]
config:
  llm: {provider: hosted_vllm, model: m, api_base: 'URL'}
""".replace("EIGHT", EIGHT.replace("xs", "reply"))
SECRET_KEY: Final = base64.b64encode(b"k" * 32).decode()
LOGGED: Final = """\
flow: {name: logged}
state:
  fields:
    key: {type: str, required: true, secret: true}
    t: {type: str, required: true}
    s: str
nodes:
  - {id: ask, prompt: '{key} {t}{t}{t}{t}{t}{t}{t}{t}{t}{t}', outputs: [s]}
config:
  llm: {provider: hosted_vllm, model: m, api_base: 'URL'}
"""


def failing_first(reply: str) -> Callable[[Request], Behaviour]:
    calls = 0

    def answer(_: Request) -> Behaviour:
        nonlocal calls
        calls += 1
        return Status(500) if calls == 1 else Text(reply)

    return answer


@pytest.mark.parametrize("kind", ["objects", *(pytest.param(k, marks=LONG) for k in ("numbers", "keys", "lists"))])
async def test_no_value_of_a_run_holds_the_event_loop_of_its_executor(
    database: Database, starting: Starting, campaign: Campaigns, kind: str
) -> None:
    # What has many lists and objects can't be written several times.
    is_flat = kind in ("numbers", "keys")
    reply = json.dumps([DENSE[kind]] * 3 if is_flat else DENSE[kind], separators=(",", ":"))
    text = DOCUMENT if is_flat else DOCUMENT.replace(EIGHT, "'{xs}'")

    async def held_s() -> float:
        async with (
            openai_server(failing_first(reply)) as model,
            starting("executor", long_wait_s=0.1, sweep_s=0.2) as executor,
        ):
            await queued.apply(database, text.replace("URL", model.url))
            inputs = {"xs": DENSE[kind], "few": list(range(110))}
            run_id = await queued.submit(database, "dense", inputs=inputs)
            assert await ended(database, run_id) == ("succeeded", None)
            return executor.longest_held_s

    with campaign("dense values").attempt(kind):
        assert await least_held_s(held_s) < LONGEST_OF_SERVICE_S


@pytest.mark.parametrize("kind", ["an output", pytest.param("a reply", marks=LONG)])
async def test_more_lists_than_a_value_may_have_do_not_hold_the_event_loop_of_an_executor(
    database: Database, starting: Starting, campaign: Campaigns, kind: str
) -> None:
    reply: list[Any] = [{"a": []}] * (300_000 if kind == "a reply" else 60_000)

    async def held_s() -> float:
        async with (
            openai_server(lambda _: Text(json.dumps(reply, separators=(",", ":")))) as model,
            starting("executor") as executor,
        ):
            await queued.apply(database, MULTIPLIED.replace("URL", model.url))
            status, error = await ended(database, await queued.submit(database, "multiplied"))
            assert status == "failed"
            assert "lists and objects; at most 125,000 are allowed" in error["message"]
            return executor.longest_held_s

    with campaign("dense values").attempt(f"too many lists in {kind}"):
        assert await least_held_s(held_s) < LONGEST_OF_SERVICE_S


@LONG
async def test_to_mask_a_long_prompt_does_not_hold_the_event_loop_of_an_executor(
    database: Database, starting: Starting, campaign: Campaigns
) -> None:
    """Any character of a secret may be written with a percent sign, and the prompt is logged."""

    async def held_s() -> float:
        async with (
            openai_server(lambda _: Text("done")) as model,
            starting("executor", log_prompts=True, secret_key=SECRET_KEY) as executor,
        ):
            await queued.apply(database, LOGGED.replace("URL", model.url))
            key = SecretBox(read_keys(SECRET_KEY)).seal("s3cr3t", workflow="logged", name="key")
            inputs = {"key": key, "t": "w%41rd " * 80_000}
            run_id = await queued.submit(database, "logged", inputs=inputs)
            assert await ended(database, run_id) == ("succeeded", None)
            return executor.longest_held_s

    with campaign("dense values").attempt("percent signs"):
        assert await least_held_s(held_s) < LONGEST_OF_SERVICE_S


async def ended(database: Database, run_id: UUID) -> tuple[str, Any]:
    """Its status and its error, without its values: nothing has to be decoded here."""
    statement = "SELECT status, error FROM runs WHERE id = $1 AND finished_at IS NOT NULL"
    row = await eventually(lambda: database.row(statement, run_id), 150, pause_s=0.5)
    return row["status"], row["error"]
