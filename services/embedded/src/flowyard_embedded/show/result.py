"""How a run ended: outputs, error, and per node the time and the money. As text and as data."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowyard.runs.summary import NodeSummary, RunSummary
from flowyard_embedded.show.format import count, money, plural, seconds

_REPLY_SHOWN: Final = 2_000
_WIDE: Final = 120


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
        "nodes": [_node_as_data(node, summary) for node in summary.nodes.values()],
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
        "cost_usd": _number(node.cost_usd),
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def print_result(summary: RunSummary) -> None:
    """Outputs and table on standard output; the error on standard error."""
    console = Console() if sys.stdout.isatty() else Console(width=_WIDE, color_system=None, highlight=False)
    for name, value in summary.outputs.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        console.print(Text(f"\n{name}", style="bold"))
        console.print(Text(text, overflow="fold"), soft_wrap=True)
    if summary.nodes:
        console.print()
        console.print(_table(summary))
    _print_end(summary)


def _print_end(summary: RunSummary) -> None:
    error = summary.error
    took = f"in {seconds(summary.duration_s)}, {plural(len(summary.path), 'step')}"
    if error is not None:
        where = f"node '{error.node}': " if error.node else ""
        if error.reply is not None:
            cut = f"\n… ({len(error.reply):,} characters)" if len(error.reply) > _REPLY_SHOWN else ""
            print(f"the reply that didn't fit:\n{error.reply[:_REPLY_SHOWN]}{cut}\n", file=sys.stderr)
        print(f"failed {took}: {where}{error.message} [{error.code}]", file=sys.stderr)
    elif summary.status == "cancelled":
        print(f"cancelled {took}", file=sys.stderr)
    else:
        print(f"{summary.status} {took}")


def _table(summary: RunSummary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=len(summary.nodes) > 1)
    total = summary.totals
    columns = [
        ("node", "total", "left"),
        ("steps", str(total.steps), "right"),
        ("time", seconds(summary.duration_s), "right"),
        ("share", "", "right"),
        ("calls", str(total.calls), "right"),
        ("tokens in", count(total.tokens_in), "right"),
        ("tokens out", count(total.tokens_out), "right"),
        ("cost", money(total.cost_usd), "right"),
        ("", "", "left"),
    ]
    for name, footer, justify in columns:
        table.add_column(name, footer=footer, justify=justify)  # type: ignore[arg-type]  # a Literal of rich
    for node in summary.nodes.values():
        table.add_row(*_row(node, summary))
    return table


def _row(node: NodeSummary, summary: RunSummary) -> list[str]:
    remarks = ["<- bottleneck"] if node.node == summary.bottleneck else []
    remarks += [plural(node.retries, "retry").replace("retrys", "retries")] if node.retries else []
    remarks += [f"{node.failed} failed"] if node.failed else []
    return [
        node.node,
        str(node.steps),
        seconds(node.duration_s),
        f"{node.share(summary.duration_s):.0%}",
        str(node.calls),
        count(node.tokens_in),
        count(node.tokens_out),
        money(node.cost_usd),
        ", ".join(remarks),
    ]
