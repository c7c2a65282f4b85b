from __future__ import annotations

import httpx
import pytest


async def get(client: httpx.AsyncClient, authorization: str | None) -> httpx.Response:
    client.headers.pop("authorization", None)
    headers = {} if authorization is None else {"authorization": authorization}
    return await client.get("/v1/secret", headers=headers)


@pytest.mark.parametrize("authorization", [None, "", "fy_admin", "Basic fy_admin"])
async def test_without_a_key_nobody_gets_in(client: httpx.AsyncClient, authorization: str | None) -> None:
    response = await get(client, authorization)
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == 'Bearer realm="flowyard"'
    assert "Authorization: Bearer" in response.json()["detail"]


async def test_a_wrong_key_is_refused_and_not_repeated(client: httpx.AsyncClient) -> None:
    response = await get(client, "Bearer fy_stranger")
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert "stranger" not in response.text


async def test_a_refusal_names_the_scope_that_a_key_lacks(client: httpx.AsyncClient) -> None:
    response = await get(client, "Bearer fy_reader")
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert response.json()["needed_scope"] == "run"


async def test_a_key_with_a_wider_scope_gets_in(client: httpx.AsyncClient) -> None:
    response = await get(client, "Bearer fy_admin")
    assert (response.status_code, response.json()) == (200, "boss")


async def test_the_openapi_says_that_a_key_is_needed(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["paths"]["/v1/secret"]["get"]["security"] == [{"api_key": []}]


async def test_without_a_key_no_body_is_read_and_nothing_but_health_answers(client: httpx.AsyncClient) -> None:
    client.headers.pop("authorization")
    for path in ("/metrics", "/openapi.json", "/v1/items", "/nowhere"):
        assert (await client.post(path, content=b"{bad")).status_code == 401
    assert (await client.get("/health/live")).status_code == 200
