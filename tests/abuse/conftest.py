"""Services as processes, each of which has to stay below its memory limit, and has to keep its event loop free."""

from __future__ import annotations

import re
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import yaml

from support.campaigns import CPU, LONGEST_HELD_S, SERVICE
from support.processes import ServiceProcess, service_process

COMPOSE: Final = Path(__file__).parents[2] / "docker-compose.yml"
UNITS_MB: Final = {"m": 1, "g": 1024}

Starting: TypeAlias = Callable[..., AbstractAsyncContextManager[ServiceProcess]]


def memory_limit_mb(service: str) -> int:
    """What its container may use by default."""
    limit = yaml.safe_load(COMPOSE.read_text())["services"][service]["deploy"]["resources"]["limits"]["memory"]
    number, unit = re.fullmatch(r"\$\{\w+:-(\d+)([mg])\}", limit).groups()  # type: ignore[union-attr]
    return int(number) * UNITS_MB[unit]


@pytest.fixture
def starting(request: pytest.FixtureRequest, database_url: str, nats_url: str) -> Starting:
    """Starts services. At the end of its block, each must have stayed within its bounds."""

    @asynccontextmanager
    async def start(
        name: str, *, environ: Mapping[str, str] | None = None, **settings: Any
    ) -> AsyncIterator[ServiceProcess]:
        urls = {"database_url": database_url, "nats_url": nats_url}
        async with service_process(name, environ=environ, **urls, **settings) as service:
            yield service
            most, held = service.most_memory_mb, service.longest_held_s
        limit = memory_limit_mb(name)
        request.node.user_properties.append((SERVICE, [name, most, limit, held]))
        assert most < limit, f"{name} took {most} MB of memory, and its container has {limit}"
        assert held < LONGEST_HELD_S, f"the event loop of {name} was held for {held:.3f} s"

    return start


@pytest.fixture(autouse=True)
def counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Counts the CPU time of each test."""
    before = cpu_s()
    yield
    request.node.user_properties.append((CPU, cpu_s() - before))


def cpu_s() -> float:
    """Of this process, and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
