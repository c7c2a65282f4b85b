"""`--system` says on which running system the stories are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.system import System
    from support.visitor import Model, Visitor


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """One for all stories."""
    from support.system import embedded, look_after  # noqa: PLC0415  # tests of documents need no system

    if request.config.getoption("system") == "compose":
        raise pytest.UsageError("--system=compose: not yet")
    with embedded() as system:
        yield system
        look_after(system)


@pytest.fixture
async def visitor(system: System) -> AsyncIterator[Visitor]:
    from support.visitor import visitor_of  # noqa: PLC0415  # as above

    async with visitor_of(system.url, system.key) as visitor:
        yield visitor


@pytest.fixture
def model(visitor: Visitor) -> Model:
    return visitor.model
