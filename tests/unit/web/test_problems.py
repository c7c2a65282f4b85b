from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest

from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import InvalidDocument
from flowyard.web.problems import problem_of, problem_responses


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:flowyard:problem:{body['code']}"
    assert body["instance"] == f"urn:flowyard:request:{response.headers['x-request-id']}"
    return body


async def test_an_error_of_ours_has_its_code_title_and_detail(client: httpx.AsyncClient) -> None:
    body = problem(await client.get("/v1/runs/r1"))
    assert (body["status"], body["code"], body["title"]) == (404, "unknown_run", "No such run")
    assert body["detail"] == "no run 'r1' (see the list)"


async def test_when_to_try_again_is_in_whole_seconds(client: httpx.AsyncClient) -> None:
    response = await client.delete("/v1/runs/r1")
    assert problem(response)["code"] == "queue_full"
    assert response.headers["retry-after"] == "3"


async def test_a_request_of_the_wrong_shape_is_answered_with_where_and_what(client: httpx.AsyncClient) -> None:
    body = problem(await client.post("/v1/items", json={"name": "hunter2-hunter2", "count": "many"}))
    assert (body["status"], body["code"]) == (422, "invalid_request")
    (codes,) = body["problems"]
    assert codes["where"] == "body.count"
    assert "valid integer" in codes["message"]
    assert "hunter2" not in json.dumps(body)


async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient) -> None:
    body = problem(await client.get("/v1/runs/r1", params={"limit": 99}))
    assert [codes["where"] for codes in body["problems"]] == ["query.limit"]


async def test_what_isnt_json_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    body = problem(await client.post("/v1/items", content=b'{"name": ', headers=headers))
    assert body["code"] == "invalid_request"
    assert body["detail"].startswith("body.9: not JSON: no value begins here")


async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient) -> None:
    body = problem(await client.get("/v1/nothing"))
    assert (body["status"], body["code"]) == (404, "no_such_route")
    assert body["detail"] == "no route GET /v1/nothing"


async def test_a_refused_method_is_answered_with_those_that_the_path_takes(client: httpx.AsyncClient) -> None:
    response = await client.put("/v1/runs/r1")
    assert problem(response)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "DELETE, GET"


async def test_a_bug_shows_nothing_but_the_id_that_is_in_the_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.get("/v1/bug")
    body = problem(response)
    assert (body["status"], body["code"]) == (500, "internal_error")
    assert "hunter2" not in response.text
    assert "RuntimeError" not in response.text
    logged = next(record for record in caplog.records if record.exc_info)
    assert logged.levelno == logging.ERROR
    assert body["instance"].endswith(logged.__dict__["request_id"])


async def test_half_a_surrogate_pair_in_a_message_can_be_answered(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post("/v1/echo", content=rb'{"name": "\ud800"}', headers=headers)
    assert problem(response)["detail"] == "no run '\ud800'"


def test_a_detail_never_hides_a_member_that_every_problem_has() -> None:
    class Odd(FlowyardError):
        code = "odd"

        @property
        def details(self) -> dict[str, Any]:
            return {"code": "other", "more": 1}

    body = json.loads(bytes(problem_of(Odd("x"), "r").body))
    assert (body["code"], body["more"]) == ("odd", 1)


def test_a_documents_problems_are_there_for_programs() -> None:
    codes = {
        "file": "a.yaml",
        "line": 3,
        "column": 5,
        "code": "unknown_node",
        "message": "no node 'x'",
        "suggestion": None,
    }
    body = json.loads(bytes(problem_of(InvalidDocument([codes, codes]), "r").body))
    assert body["detail"] == "a.yaml:3:5: no node 'x' (and 1 more)"
    assert body["problems"] == [codes, codes]


def all_errors(root: type[FlowyardError] = FlowyardError) -> list[type[FlowyardError]]:
    return [root, *(error for child in root.__subclasses__() for error in all_errors(child))]


def test_every_error_has_a_status_and_a_title_of_a_problem() -> None:
    for error in all_errors():
        assert 400 <= error.status < 600, error
        assert error.title, error


def test_errors_of_one_status_are_documented_together() -> None:
    errors = [error for error in all_errors() if error.status == 409]
    content = problem_responses(*errors)[409]["content"]["application/problem+json"]
    assert set(content["examples"]) >= {"illegal_move", "workflow_in_use"}


async def test_the_openapi_has_problems_and_not_fastapis_errors(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert "HTTPValidationError" not in json.dumps(document)
    assert "Problem" in document["components"]["schemas"]
    item = document["paths"]["/v1/items"]["post"]["responses"]
    assert set(item) == {"200", "413", "422"}
    assert set(item["422"]["content"]) == {"application/problem+json"}
    run = document["paths"]["/v1/runs/{run_id}"]["get"]["responses"]
    assert set(run) == {"200", "404", "422"}
    assert "text/event-stream" in document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_no_page_loads_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("body", [b"\xff\xfe", b"{"], ids=["no-utf8", "cut-off"])
async def test_a_body_that_can_not_be_read_is_an_invalid_request(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/items", content=body, headers={"content-type": "application/json"})
    assert problem(answer)["code"] == "invalid_request"
