"""Which web pages may use the API in a browser."""

from __future__ import annotations

import pytest

from flowyard.web.cors import read_origins
from services.gateway.conftest import Starting, submit

PAGE = "https://app.example.com"
OTHERS = (
    "https://evil.example.com", "https://app.example.com.evil.com", "https://sub.app.example.com",
    "http://app.example.com", "https://app.example.com:8443", "null", "*",
)  # fmt: skip
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, idempotency-key",
}


async def test_a_listed_origin_may_submit_and_read(starting: Starting, poem: str) -> None:
    async with starting(cors_origins=f"{PAGE}, http://localhost:5173") as gateway, gateway.client_with(None) as nobody:
        for origin in (PAGE, "http://localhost:5173"):
            asked = await nobody.options(f"/v1/workflows/{poem}/runs", headers={**PREFLIGHT, "origin": origin})
            assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, origin)
            assert "access-control-allow-credentials" not in asked.headers
            allowed = asked.headers["access-control-allow-headers"].lower()
            assert all(name in allowed for name in ("authorization", "content-type", "idempotency-key"))
            assert "origin" in asked.headers["vary"].lower()
            gateway.client.headers["origin"] = origin
            run_id = await submit(gateway.client)
            answer = await gateway.client.get(f"/v1/runs/{run_id}")
            assert answer.headers["access-control-allow-origin"] == origin
            assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
            # A page can read why it was refused.
            refused = await nobody.get("/v1/runs", headers={"origin": origin})
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)


async def test_a_page_may_use_openais_own_client(starting: Starting) -> None:
    names = ("authorization", "content-type", "x-stainless-lang", "x-stainless-retry-count", "x-flowyard-session-id")
    wanted = {**PREFLIGHT, "access-control-request-headers": ", ".join(names), "origin": PAGE}
    async with starting(cors_origins=PAGE) as gateway, gateway.client_with(None) as nobody:
        assert (await nobody.options("/v1/chat/completions", headers=wanted)).status_code == 200
        refused = await nobody.post("/v1/chat/completions", headers={"origin": PAGE}, json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        exposed = refused.headers["access-control-expose-headers"].lower()
        assert all(name in exposed for name in ("x-flowyard-run-id", "x-flowyard-session-id", "x-should-retry"))


async def test_no_other_origin_is_let_in(starting: Starting, poem: str) -> None:
    async with starting(cors_origins=PAGE) as gateway, gateway.client_with(None) as nobody:
        for origin in OTHERS:
            asked = await nobody.options(f"/v1/workflows/{poem}/runs", headers={**PREFLIGHT, "origin": origin})
            assert asked.status_code == 400
            answer = await gateway.client.get("/v1/runs", headers={"origin": origin})
            for response in (asked, answer):
                assert "access-control-allow-origin" not in response.headers, origin


async def test_without_a_list_no_page_gets_an_answer(starting: Starting, poem: str) -> None:
    async with starting() as gateway, gateway.client_with(None) as nobody:
        asked = await nobody.options(f"/v1/workflows/{poem}/runs", headers={**PREFLIGHT, "origin": PAGE})
        answer = await gateway.client.get("/v1/runs", headers={"origin": PAGE})
        assert (asked.status_code, answer.status_code) == (401, 200)
        for response in (asked, answer):
            assert not [name for name in response.headers if name.startswith("access-control")]


async def test_methods_and_headers_that_the_api_doesnt_use_are_not_allowed(starting: Starting) -> None:
    async with starting(cors_origins=PAGE) as gateway, gateway.client_with(None) as nobody:
        for wrong in ({"access-control-request-method": "TRACE"}, {"access-control-request-headers": "cookie"}):
            asked = await nobody.options("/v1/runs", headers={**PREFLIGHT, "origin": PAGE, **wrong})
            assert asked.status_code == 400


def test_origins_are_read_as_browsers_send_them() -> None:
    text = "https://App.Example.com/, https://app.example.com:443 http://[::1]:3000,http://localhost:80"
    assert read_origins(text) == ("https://app.example.com", "http://[::1]:3000", "http://localhost")
    assert read_origins("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "https://*.example.com",
        "null",
        "app.example.com",
        "https://app.example.com/page",
        "https://a b@c",
        "file://x",
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="isn't an origin"):
        read_origins(text)
