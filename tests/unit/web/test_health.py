from __future__ import annotations

import asyncio

import httpx
import pytest

from flowyard.errors.services import Unavailable
from flowyard.web.health import Check
from unit.web.conftest import Service


async def well() -> str:
    return "12 connections"


async def ready(service: Service) -> httpx.Response:
    async with service.client() as client:
        return await client.get("/health/ready")


async def test_a_service_whose_checks_are_well_is_ready(service: Service) -> None:
    service.checks = [Check("postgres", well)]
    response = await ready(service)
    assert response.status_code == 200
    assert response.json()["checks"] == [{"name": "postgres", "ok": True, "detail": "12 connections"}]


async def test_what_isnt_healthy_is_reported_by_name(service: Service) -> None:
    async def down() -> str:
        raise Unavailable("Postgres")

    service.checks = [Check("postgres", down), Check("nats", well)]
    response = await ready(service)
    assert response.status_code == 503
    assert response.json()["checks"][0] == {"name": "postgres", "ok": False, "detail": "Postgres can't be reached now"}
    assert response.json()["checks"][1]["ok"]


async def test_a_check_that_hangs_is_cut_off(service: Service) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    service.checks = [Check("nats", hang, limit_s=0.05)]
    response = await ready(service)
    assert response.status_code == 503
    assert response.json()["checks"][0]["detail"] == "no answer within 0.05 s"


async def test_an_unexpected_error_of_a_check_shows_no_secret(service: Service) -> None:
    async def broken() -> str:
        raise OSError("postgresql://u:hunter2@db")

    service.checks = [Check("postgres", broken)]
    response = await ready(service)
    assert response.status_code == 503
    assert "hunter2" not in response.text


async def test_a_draining_service_is_alive_but_not_ready(service: Service) -> None:
    service.checks = [Check("postgres", well)]
    service.shutting_down.set()
    response = await ready(service)
    assert response.status_code == 503
    assert response.json()["draining"]
    async with service.client() as client:
        assert (await client.get("/health/live")).status_code == 200


async def test_many_requests_at_once_cost_one_check(service: Service) -> None:
    checks_made = 0

    async def counted() -> str:
        nonlocal checks_made
        checks_made += 1
        await asyncio.sleep(0.01)  # a check takes its time
        return ""

    service.checks = [Check("postgres", counted)]
    async with service.client() as client:
        await asyncio.gather(*(client.get("/health/ready") for _ in range(20)))
    assert checks_made == 1


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_supervisors_need_no_key(client: httpx.AsyncClient, path: str) -> None:
    client.headers.pop("authorization")
    assert (await client.get(path)).status_code == 200
