"""What the API says about the campaign's runs after its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chaos.campaign.clients import Gateway
from chaos.campaign.shapes import SHAPES, step_name

_PAGE: Final = 200


@dataclass(frozen=True)
class Event:
    """`at`: in seconds since 1970."""

    seq: int
    at: float
    type: str
    data: Mapping[str, Any]

    @property
    def step(self) -> str:
        """As `node:visit[.item]`."""
        return step_name(self.data)


@dataclass(frozen=True)
class History:
    """A run, as the API shows it."""

    run: Mapping[str, Any]
    events: Sequence[Event]
    steps: Sequence[Mapping[str, Any]]
    calls: Sequence[Mapping[str, Any]]


async def all_runs(gateway: Gateway) -> list[Mapping[str, Any]]:
    """Every run of the campaign's workflows, however it was made."""
    runs: list[Mapping[str, Any]] = []
    for shape in SHAPES:
        params = {"workflow": shape.name, "limit": str(_PAGE)}
        while True:
            page = await gateway.get("/runs", params)
            runs += page["items"]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
    return runs


async def read_history(gateway: Gateway, run_id: str) -> History | None:
    """None: the API doesn't know the run."""
    run = await gateway.get(f"/runs/{run_id}")
    if run is None:
        return None
    events, after = [], 0
    while page := (await gateway.get(f"/runs/{run_id}/events", {"after": str(after), "limit": "1000"}))["items"]:
        events += [_event(item) for item in page]
        after = page[-1]["seq"]
    steps = (await gateway.get(f"/runs/{run_id}/steps"))["items"]
    calls = (await gateway.get(f"/runs/{run_id}/calls", {"texts": "false"}))["items"]
    return History(run, events, steps, calls)


def _event(item: Mapping[str, Any]) -> Event:
    return Event(item["seq"], datetime.fromisoformat(item["at"]).timestamp(), item["type"], item["data"])
