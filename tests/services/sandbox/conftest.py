from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.sandboxes import TIERS, Workers, running_pool, worker_kind


@pytest.fixture(scope="module", params=TIERS)
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with running_pool(worker_kind(request.param)) as pool:
        yield pool


@pytest.fixture(scope="module")
def full() -> Iterator[Workers]:
    with running_pool(worker_kind("full")) as pool:
        yield pool
