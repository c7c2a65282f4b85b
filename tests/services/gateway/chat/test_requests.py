"""Which requests are accepted, which models there are, and in which form the others are refused."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from flowyard.storage.database import Database
from flowyard.storage.keys import Keys
from flowyard.storage.runs import Runs
from flowyard.storage.triggers import Triggers
from services.gateway.chat.conftest import Sender, answered, document, said, text_of
from services.gateway.conftest import Gateway, Starting
from support.hands import Hands
from support.queued import apply
from support.waiting import eventually

WHOLE = [said("be short", "system"), said("Hi"), said("Hello", "assistant"), said("How are you?")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/images/generations"),
        ("GET", "/v1/files"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1/responses/resp_1/cancel"),
    ],
)
async def test_what_clients_of_openai_call_and_is_not_there_is_an_error_in_their_form(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path, json={})
    assert (response.status_code, response.json()["error"]) == (
        404,
        {
            "message": f"no route {method} {path}",
            "type": "invalid_request_error",
            "param": None,
            "code": "no_such_route",
        },
    )


async def test_other_paths_have_other_errors(client: httpx.AsyncClient) -> None:
    for path in ("/v1/nothing", "/v1/chat/sessions/x", "/v1/filesystem"):
        assert (await client.get(path)).headers["content-type"] == "application/problem+json"


async def test_a_number_with_too_many_digits_is_refused_in_plain_words(client: httpx.AsyncClient) -> None:
    body = f'{{"model": "support", "messages": [], "seed": {"9" * 5000}}}'
    response = await client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "body: a number has more than 4,300 digits"


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": None}, 400, "invalid_request", "model"),
        ({"model": "nobody"}, 404, "model_not_found", None),
        ({"model": "a/b"}, 404, "model_not_found", None),
        ({"n": 2}, 400, "invalid_request", "n"),
        ({"n": 0}, 400, "invalid_request", "n"),
        ({"messages": []}, 400, "invalid_request", "messages"),
        ({"messages": "Hi"}, 400, "invalid_request", "messages"),
        ({"messages": [{"role": "pirate", "content": "Hi"}]}, 400, "invalid_inputs", "messages"),
        ({"messages": [{"role": [], "content": {}}]}, 400, "invalid_inputs", "messages"),
        ({"user": "x" * 257}, 400, "invalid_request", "user"),
        ({"metadata": {"thread_id": "a\nb"}}, 400, "invalid_request", "metadata"),
    ],
    ids=[
        "no model",
        "unknown model",
        "no name",
        "n",
        "n is 0",
        "no messages",
        "text",
        "role",
        "no text",
        "long user",
        "control characters",
    ],
)
async def test_a_wrong_request_is_an_error_of_openai_and_starts_nothing(
    client: httpx.AsyncClient, database: Database, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    body = {"model": "support", "messages": [said()], **change}
    response = await client.post(
        "/v1/chat/completions", json={name: value for name, value in body.items() if value is not None}
    )
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert param is None or error["param"].startswith(param)
    assert set(error) >= {"message", "type", "param", "code"}
    assert await database.value("SELECT count(*) FROM runs") == 0


async def test_what_is_no_json_and_who_has_no_key_get_the_same_form(gateway: Gateway) -> None:
    broken = await gateway.client.post(
        "/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
    )
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_request")
    async with gateway.client_with("Bearer fy_wrong") as nobody:
        stranger = await nobody.get("/v1/models")
    assert (stranger.status_code, stranger.json()["error"]["type"]) == (401, "authentication_error")
    assert stranger.headers["www-authenticate"].startswith("Bearer")
    other = await gateway.client.delete("/v1/models")
    assert (other.status_code, other.json()["error"]["code"]) == (405, "method_not_allowed")
    async with gateway.as_one_who_may("read") as client:
        reader = await Sender(client).send()
    assert (reader.status_code, reader.json()["error"]["type"]) == (403, "permission_error")


async def test_a_full_queue_is_429_with_a_time_to_wait(starting: Starting, database: Database) -> None:
    await apply(database, document())
    async with starting(queue_limit=1, wait_max_s=0.1) as gateway:
        await Sender(gateway.client).send()
        for stream in (False, True):
            response = await Sender(gateway.client).send(stream=stream)
            assert (response.status_code, response.json()["error"]["type"]) == (429, "rate_limit_error")
            assert int(response.headers["retry-after"]) > 0


async def test_a_stream_beyond_the_limit_is_refused_before_a_run_is_made(
    starting: Starting, database: Database
) -> None:
    await apply(database, document())
    async with starting(streams_per_key=1) as gateway:
        sender = Sender(gateway.client)
        async with sender.stream() as chunks:
            await chunks.next()
            response = await sender.send(stream=True)
            assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_streams")
        assert await database.value("SELECT count(*) FROM runs") == 1
        await eventually(lambda: may_stream(sender))


async def may_stream(sender: Sender) -> bool:
    async with sender.stream() as chunks:
        return chunks.response.status_code == 200


async def test_models_are_the_workflows_with_a_live_chat_trigger(client: httpx.AsyncClient, database: Database) -> None:
    await apply(database, document(name="paused"))
    await Triggers(database).set_paused("paused", "talk", paused=True)
    await apply(database, document(name="disabled").replace("    inputs:", "    enabled: false\n    inputs:"))
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    [model] = listed["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("support", "model", "flowyard")
    assert isinstance(model["created"], int)
    assert (await client.get("/v1/models/support")).json() == model
    for name in ("paused", "disabled", "nobody"):
        response = await client.get(f"/v1/models/{name}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
        sent = await client.post("/v1/chat/completions", json={"model": name, "messages": [said()]})
        assert (sent.status_code, sent.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_key_for_some_workflows_sees_only_their_models(
    client: httpx.AsyncClient, gateway: Gateway, database: Database
) -> None:
    await apply(database, document(name="other"))
    _, text = await Keys(database).create("some", frozenset({"run"}), workflows=frozenset({"other"}))
    async with gateway.client_with(f"Bearer {text}") as some:
        assert [model["id"] for model in (await some.get("/v1/models")).json()["data"]] == ["other"]
        for name in ("support", "nobody"):
            refused = await some.post("/v1/chat/completions", json={"model": name, "messages": [said()]})
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
            assert (await some.get(f"/v1/models/{name}")).status_code == 404


async def test_what_clients_send_besides_is_accepted_and_documents_may_use_it(
    sender: Sender, hands: Hands, database: Database
) -> None:
    more = {
        "max_tokens": 5, "max_completion_tokens": 5, "temperature": 0.5, "seed": 1, "store": False, "logprobs": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}, "unknown": [1],
        "tools": [{"type": "function", "function": {"name": "f"}}], "stop": None, "n": 1,
    }  # fmt: skip
    parts = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    response = await answered(
        sender, hands, "ok", said("be kind", "developer"), parts, metadata={"language": "de"}, **more
    )
    assert response.status_code == 200
    run = await Runs(database).get(UUID(response.headers["x-flowyard-run-id"]))
    assert run.inputs["language"] == "de"
    assert [(m["role"], m["content"]) for m in run.inputs["messages"]] == [("system", "be kind"), ("user", "Hi")]


async def test_a_request_without_anything_to_answer_is_refused(sender: Sender, database: Database) -> None:
    for stream in (False, True):
        response = await sender.send(said("Be kind", "system"), said("And short", "developer"), stream=stream)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "invalid_request", "messages")
    assert await database.value("SELECT count(*) FROM runs") == 0


async def test_a_repeated_request_with_the_same_key_is_one_run(
    sender: Sender, hands: Hands, database: Database
) -> None:
    headers = {"idempotency-key": "k1"}
    first = await answered(sender, hands, "ok", headers=headers)
    again = await sender.send(headers=headers)
    assert again.json() == first.json()
    other = await sender.send(said("other"), headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_mismatch")
    assert await database.value("SELECT count(*) FROM runs") == 1


async def test_a_repeated_stream_with_the_same_key_gets_the_whole_answer(sender: Sender, hands: Hands) -> None:
    headers = {"idempotency-key": "k1"}
    async with sender.stream(headers=headers) as chunks:
        await hands.succeed(await hands.take(), {"reply": "Hello world"})
        first = await chunks.rest()
    async with sender.stream(headers=headers) as chunks:
        again = await chunks.rest()
    assert text_of(first) == text_of(again) == "Hello world"
    assert first[0]["id"] == again[0]["id"]


async def test_a_submit_by_chat_is_written_down_as_any_other(sender: Sender, hands: Hands, database: Database) -> None:
    await answered(sender, hands, "ok")
    await answered(sender, hands, "ok", user="u")
    rows = await database.rows("SELECT act, who, workflow FROM audit_entries WHERE act = 'run.submitted'")
    assert [(row["act"], row["workflow"]) for row in rows] == [("run.submitted", "support")] * 2


async def test_the_description_of_the_api_shows_errors_as_they_are_sent(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert "422" not in responses
    for status, response in responses.items():
        if status != "200":
            [(kind, content)] = response["content"].items()
            assert (kind, content["schema"]["$ref"]) == ("application/json", "#/components/schemas/ChatError")
            assert all(example["value"]["error"]["code"] for example in content["examples"].values())
    assert set(responses["404"]["content"]["application/json"]["examples"]) == {"model_not_found"}
