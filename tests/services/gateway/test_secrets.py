"""Secret inputs at the door: sealed before they are stored, recognised again, and never shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from flowyard.secrets.masking import SEALED
from flowyard.secrets.sealing import SecretBox, new_key, read_keys
from flowyard.storage.database import Database
from flowyard.storage.runs import Runs
from services.gateway.conftest import Gateway, Starting
from support import stories
from support.queued import apply

LOGIN: Final = stories.LOGIN.replace("MODEL", "{provider: scripted}")
OLD, NEW = new_key(), new_key()
SECRET: Final = "s3cret-of-somebody"
INPUTS: Final = {"user": "ann", "token": SECRET}
RUNS: Final = "/v1/workflows/login/runs"

pytestmark = pytest.mark.usefixtures("login")


@pytest.fixture
async def login(database: Database) -> None:
    await apply(database, LOGIN)


@pytest.fixture
async def gateway(starting: Starting) -> AsyncIterator[Gateway]:
    async with starting(secret_key=OLD) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> httpx.AsyncClient:
    return gateway.client


async def submitted(client: httpx.AsyncClient, key: str | None = None, **inputs: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else None
    response = await client.post(RUNS, json={"inputs": {**INPUTS, **inputs}}, headers=headers)
    assert response.status_code in {200, 202}, response.text
    content: dict[str, Any] = response.json()
    return content


async def stored(database: Database, run_id: str) -> str:
    """The sealed token."""
    inputs = await database.value("SELECT inputs FROM runs WHERE id = $1", run_id)
    assert inputs["user"] == "ann"
    return str(inputs["token"])


def opened(sealed: str, key: str = OLD) -> str:
    return SecretBox(read_keys(key)).open(sealed, workflow="login", name="token")


async def test_a_secret_is_stored_sealed_and_shown_as_stars(client: httpx.AsyncClient, database: Database) -> None:
    run = await submitted(client)
    assert run["inputs"] == {"user": "ann", "token": "***"}
    assert (await client.get(f"/v1/runs/{run['id']}")).json()["inputs"] == run["inputs"]
    sealed = await stored(database, run["id"])
    assert sealed.startswith(SEALED)
    assert opened(sealed) == SECRET


async def test_without_a_key_the_answer_says_what_to_set(starting: Starting) -> None:
    async with starting() as gateway:
        response = await gateway.client.post(RUNS, json={"inputs": INPUTS})
    assert (response.status_code, response.json()["code"]) == (422, "secrets_not_configured")
    assert "set FLOWYARD_SECRET_KEY" in response.json()["detail"]
    assert SECRET not in response.text


@pytest.mark.parametrize("token", [123456789012345, ["s3cret"], {"s3cret": 1}, None, True])
async def test_a_secret_of_a_wrong_type_is_not_spelled(client: httpx.AsyncClient, token: object) -> None:
    response = await client.post(RUNS, json={"inputs": {**INPUTS, "token": token}})
    assert response.json()["problems"][0].startswith("token: expected str, got ")
    assert not any(part in response.text for part in ("12345", "s3cret"))


async def test_how_a_secret_is_shown_is_no_secret(client: httpx.AsyncClient) -> None:
    response = await client.post(RUNS, json={"inputs": {**INPUTS, "token": "***"}})
    assert response.json()["problems"] == ["token: '***' is what a secret is shown as, not its value"]


async def test_the_same_request_is_known_again_by_nothing_that_can_be_guessed(
    client: httpx.AsyncClient, database: Database
) -> None:
    run = await submitted(client, "a")
    assert (await submitted(client, "a"))["id"] == run["id"]
    other = await client.post(RUNS, json={"inputs": {**INPUTS, "token": "another"}}, headers={"Idempotency-Key": "a"})
    assert other.json()["code"] == "idempotency_mismatch"
    fields = {"run": "login", "inputs": INPUTS, "priority": None}
    plain = hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).digest()
    assert await database.value("SELECT fingerprint FROM runs WHERE id = $1", run["id"]) != plain


async def test_after_a_change_of_keys_requests_are_known_and_secrets_are_opened(
    starting: Starting, gateway: Gateway, database: Database
) -> None:
    run = await submitted(gateway.client, "a")
    async with starting(secret_key=f"{NEW},{OLD}") as later:
        async with later.client_with(gateway.client.headers["authorization"]) as same:
            response = await same.post(RUNS, json={"inputs": INPUTS}, headers={"Idempotency-Key": "a"})
        assert (response.status_code, response.json()["id"]) == (200, run["id"])
        new = await submitted(later.client)
    assert opened(await stored(database, run["id"]), f"{NEW},{OLD}") == SECRET
    assert opened(await stored(database, new["id"]), NEW) == SECRET


@pytest.mark.parametrize("changes", [{}, {"token": "***"}])
async def test_a_fork_keeps_the_secret_of_its_origin(
    client: httpx.AsyncClient, database: Database, changes: dict[str, str]
) -> None:
    run = await submitted(client)
    fork = (await client.post(f"/v1/runs/{run['id']}/fork", json={"inputs": changes})).json()
    assert fork["inputs"]["token"] == "***"
    assert await stored(database, fork["id"]) == await stored(database, run["id"])


async def test_a_fork_can_be_given_another_secret(client: httpx.AsyncClient, database: Database) -> None:
    run = await submitted(client)
    fork = (await client.post(f"/v1/runs/{run['id']}/fork", json={"inputs": {"token": "another"}})).json()
    assert opened(await stored(database, fork["id"])) == "another"
    assert opened(await stored(database, run["id"])) == SECRET


async def test_a_fork_without_a_key_keeps_what_is_sealed_and_seals_nothing(
    starting: Starting, client: httpx.AsyncClient, database: Database
) -> None:
    run = await submitted(client)
    async with starting() as other:
        kept = (await other.client.post(f"/v1/runs/{run['id']}/fork", json={})).json()
        refused = await other.client.post(f"/v1/runs/{run['id']}/fork", json={"inputs": {"token": "another"}})
    assert opened(await stored(database, kept["id"])) == SECRET
    assert refused.json()["code"] == "secrets_not_configured"


async def test_what_a_fork_changes_at_a_step_is_sealed_too(
    client: httpx.AsyncClient, database: Database, hands: Any
) -> None:
    run = await submitted(client)
    claim = await hands.take()
    await hands.step(claim, "ask", {"said": "done"})
    await hands.succeed(claim, {"said": "done"})
    order = {"from": {"node": "ask"}, "state": {"token": "another"}}
    wrong = await client.post(f"/v1/runs/{run['id']}/fork", json={**order, "state": {"token": 123456789}})
    assert (wrong.status_code, "123456789" in wrong.text) == (422, False)
    fork = (await client.post(f"/v1/runs/{run['id']}/fork", json=order)).json()
    origin = await Runs(database).fork_origin(fork["id"])
    assert origin.fork is not None
    assert opened(origin.fork.state["token"]) == "another"
