"""The panels of our Grafana dashboards, and what a Prometheus has to say to their queries."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from support.visitor import Visitor
from support.waiting import eventually
from support.wire.behaviour import Behaviour, Status, Text

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
RANGE_S: Final = 300
_STEP_S: Final = 5
_VARIABLES: Final = {"$__rate_interval": "1m", "$__range": f"{RANGE_S}s"}
SOMETIMES: Final = """\
flow: {name: sometimes}
state:
  fields:
    topic: {type: str, required: true}
    draft: str
    poem: str
    title: str
nodes:
  - {id: title, code: 'result = topic.title()', outputs: [title]}
  - {id: draft, prompt: 'Draft {topic}.', outputs: [draft]}
  - {id: write, prompt: 'Write {topic}.', outputs: [poem], retry: 0}
config:
  llm: MODEL
"""
_REPLIES: Final[dict[str, Behaviour]] = {"Draft fog.": Text("a fine draft", cached=8), "Write fog.": Status(500)}


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, or of a variable of the dashboard. `where`: for people."""

    where: str
    expr: str
    instant: bool


def dashboards() -> dict[str, dict[str, Any]]:
    """By the name of the file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the rows that only head others."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """As Grafana sends them with every variable at "All"."""
    for name, dashboard in dashboards().items():
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        everything = {f"${label}": variable["allValue"] for label, variable in variables.items()}
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{name}: {panel['title']} ({target['refId']})"
                yield Query(where, _filled(target["expr"], everything), instant="instant" in target)
        for label, variable in variables.items():
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match is not None, variable
            yield Query(f"{name}: ${label}", _filled(f"count by ({match[2]}) ({match[1]})", everything), instant=True)


def empty_or_broken(prometheus_url: str) -> list[str]:
    """What Grafana could show nothing for, and why. Asks about the last five minutes."""
    with httpx.Client(base_url=prometheus_url, timeout=20) as http:
        return [f"{query.where}: {wrong}" for query in queries() if (wrong := _wrong(http, query)) is not None]


async def run_some(visitor: Visitor) -> None:
    """Two ordinary runs, and one that fails. Comes back when they have ended."""
    visitor.model.replies.update(_REPLIES)
    await visitor.apply("sometimes", SOMETIMES)
    runs = [await visitor.submit("sometimes", topic=topic, stream=True) for topic in ("fog", "rain", "rain")]
    assert {run["status"] for run in await visitor.all_ended(runs)} == {"failed", "succeeded"}


async def until_all_show_something(visitor: Visitor, prometheus_url: str, *, within_s: float) -> None:
    """No panel is empty or broken any more. Between the looks there are runs: what never changes has no rate."""
    wrong = ["nobody has looked yet"]

    async def look() -> bool:
        await run_some(visitor)
        wrong[:] = await asyncio.to_thread(empty_or_broken, prometheus_url)
        return not wrong

    await eventually(look, within_s, pause_s=2, explain=lambda: "\n".join(wrong))


def _filled(expr: str, everything: dict[str, str]) -> str:
    # Longest first: no name may be taken for the beginning of another.
    for name, value in sorted((_VARIABLES | everything).items(), key=lambda item: -len(item[0])):
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def _wrong(http: httpx.Client, query: Query) -> str | None:
    now = time.time()
    if query.instant:
        response = http.get("/api/v1/query", params={"query": query.expr, "time": now})
    else:
        during = {"start": now - RANGE_S, "end": now, "step": _STEP_S}
        response = http.get("/api/v1/query_range", params={"query": query.expr, **during})
    answer = response.json()
    if answer["status"] != "success":
        return f"{answer['error']}: {query.expr}"
    # "PromQL info" is about rounding, and comes and goes with the numbers.
    if warnings := [text for text in answer.get("warnings", ()) if not text.startswith("PromQL info:")]:
        return f"{warnings}: {query.expr}"
    series = answer["data"]["result"]
    values = [float(value) for one in series for _, value in one.get("values") or [one["value"]]]
    if not series:
        return f"empty: {query.expr}"
    return None if any(map(math.isfinite, values)) else f"no number: {query.expr}"
