"""What is stored of a fork: where it leaves its origin, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flowyard.runs.run import Change, Fork


def fork_data(fork: Fork) -> dict[str, Any]:
    data = {"origin": str(fork.origin), "node": fork.node, "visit": fork.visit, "state": dict(fork.state)}
    earlier = [{"node": c.node, "visit": c.visit, "state": dict(c.state)} for c in fork.earlier]
    return {**data, "earlier": earlier} if earlier else data


def fork_of(data: Mapping[str, Any] | None) -> Fork | None:
    if not data:
        return None
    earlier = tuple(Change(**change) for change in data.get("earlier", ()))
    return Fork(UUID(data["origin"]), data["node"], data["visit"], data["state"], earlier)
