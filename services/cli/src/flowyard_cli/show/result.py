"""The result of a run: outputs, error, and the time and cost of each node. As text and as data."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flowyard.runs.summary import BOTTLENECK, NodeSummary, RunSummary, add_known
from flowyard_cli.show.format import count, money, plural, seconds
from flowyard_embedded.streams import put, say

_REPLY_SHOWN: Final = 2_000
_WIDE: Final = 120
_ENDLESS: Final = 10_000
_COLUMNS: Final = (
    ("node", "steps", "time", "share", "calls", "tokens in", "tokens out", "cost", ""),
    ("node", "steps", "time", "share", "calls", "tokens", "cost", ""),
    ("node", "steps", "time", "share", "calls", "cost", ""),
    ("node", "steps", "time", "calls", "cost", ""),
    ("node", "time", "cost", ""),
)
"""From wide to narrow; the first that fits is shown."""


def result_as_data(summary: RunSummary) -> dict[str, Any]:
    """One JSON object. Unknown tokens and costs are null."""
    error = summary.error
    return {
        "run_id": summary.run_id,
        "workflow": summary.workflow,
        "status": summary.status,
        "outputs": dict(summary.outputs),
        "error": {"code": error.code, "message": error.message, "node": error.node, "reply": error.reply}
        if error
        else None,
        "duration_s": round(summary.duration_s, 6),
        "bottleneck": summary.bottleneck,
        "nodes": [
            {**_node_as_data(node, summary), "bottleneck": _is_bottleneck(node, summary)}
            for node in summary.nodes.values()
        ],
        "totals": _node_as_data(summary.totals, summary),
    }


def _node_as_data(node: NodeSummary, summary: RunSummary) -> dict[str, Any]:
    return {
        "node": node.node,
        "steps": node.steps,
        "failed": node.failed,
        "retries": node.retries,
        "calls": node.calls,
        "duration_s": round(node.duration_s, 6),
        "share": round(node.share(summary.duration_s), 4),
        "tokens_in": node.tokens_in,
        "tokens_out": node.tokens_out,
        "cost_usd": None if node.cost_usd is None else float(node.cost_usd),
    }


def _is_bottleneck(node: NodeSummary, summary: RunSummary) -> bool:
    """Several nodes can be bottlenecks if they ran at the same time."""
    return node.share(summary.duration_s) > BOTTLENECK


def print_result(summary: RunSummary) -> None:
    """Outputs and table on standard output; the error on standard error. Raises UnwritableOutput."""
    # Only draws: if the reader of standard output has gone away, rich would end the process on a write.
    nowhere = io.StringIO()
    if sys.stdout.isatty():
        console = Console(file=nowhere, force_terminal=True)
    else:
        console = Console(file=nowhere, width=_WIDE, color_system=None, highlight=False)
    for name, value in summary.outputs.items():
        put(_drawn(console, Text(f"\n{name}", style="bold")), end="", drawn=True)
        put(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2))
    if summary.nodes:
        put()
        put(_drawn(console, table(summary, console)), drawn=True)
    _print_end(summary)


def _drawn(console: Console, what: RenderableType) -> str:
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def _print_end(summary: RunSummary) -> None:
    error = summary.error
    took = f"in {seconds(summary.duration_s)}, {plural(len(summary.path), 'step')}"
    if error is not None:
        if error.reply is not None:
            cut = f"\n… ({len(error.reply):,} characters)" if len(error.reply) > _REPLY_SHOWN else ""
            say(f"the reply that couldn't be used:\n{error.reply[:_REPLY_SHOWN]}{cut}\n")
        say(f"failed {took}: {error}")
    elif summary.status == "cancelled":
        say(f"cancelled {took}")
    else:
        put(f"{summary.status} {took}")


def table(summary: RunSummary, console: Console) -> Table:
    """Time and cost per node, in as many columns as fit into the width of the console."""
    tables = (_table(summary, columns) for columns in _COLUMNS)
    room = console.options.update_width(_ENDLESS)
    fitting = (t for t in tables if Measurement.get(console, room, t).maximum <= console.width)
    return next(fitting, None) or _table(summary, _COLUMNS[-1])


def _table(summary: RunSummary, columns: Sequence[str]) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_footer=len(summary.nodes) > 1)
    footer = {**_cells(summary.totals, summary), "share": "", "": ""}
    for name in columns:
        words = name in ("node", "")
        drawn.add_column(
            name, footer=footer[name], justify="left" if words else "right", no_wrap=not words, overflow="fold"
        )
    for node in summary.nodes.values():
        cells = _cells(node, summary)
        drawn.add_row(*(cells[name] for name in columns))
    return drawn


def _cells(node: NodeSummary, summary: RunSummary) -> dict[str, str]:
    return {
        "node": node.node,
        "steps": str(node.steps),
        "time": seconds(node.duration_s),
        "share": f"{node.share(summary.duration_s):.0%}",
        "calls": str(node.calls),
        "tokens in": count(node.tokens_in),
        "tokens out": count(node.tokens_out),
        "tokens": count(add_known(node.tokens_in, node.tokens_out)),
        "cost": money(node.cost_usd),
        "": ", ".join(_remarks(node, summary)),
    }


def _remarks(node: NodeSummary, summary: RunSummary) -> Iterator[str]:
    if _is_bottleneck(node, summary):
        yield "<- bottleneck"
    if node.retries:
        yield plural(node.retries, "retry", "retries")
    if node.failed:
        yield f"{node.failed} failed"
