"""What is shown of a run that has ended."""

from __future__ import annotations

import io
from decimal import Decimal

import pytest
from rich.console import Console

from flowyard.runs.events import Failure
from flowyard.runs.summary import NodeSummary, RunSummary
from flowyard_cli.show.result import print_result, result_as_data, table


def summary(**nodes: float) -> RunSummary:
    made = {
        name: NodeSummary(
            name, 12, calls=12, duration_s=took, tokens_in=123_456, tokens_out=7_890, cost_usd=Decimal("0.0012")
        )
        for name, took in nodes.items()
    }
    return RunSummary(status="succeeded", duration_s=10.0, nodes=made)


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (120, "node steps time share calls tokens in tokens out cost"),
        (80, "node steps time share calls tokens cost"),
        (72, "node steps time share calls cost"),
        (60, "node steps time calls cost"),
        (45, "node time cost"),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_but_whole_ones(width: int, headings: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(table(summary(summarize=9.0, judge=1.0), console))
    lines = out.getvalue().splitlines()
    assert " ".join(next(line for line in lines if "node" in line).split()) == headings
    assert "…" not in out.getvalue()
    assert sum("summarize" in line for line in lines) == 1
    assert any("<- bottleneck" in line for line in lines)


def test_every_node_above_half_of_the_time_is_a_bottleneck(capsys: pytest.CaptureFixture[str]) -> None:
    result = summary(left=9.0, right=8.0, last=1.0)
    print_result(result)
    assert capsys.readouterr().out.count("<- bottleneck") == 2
    data = result_as_data(result)
    assert data["bottleneck"] == "left"
    assert [node["bottleneck"] for node in data["nodes"]] == [True, True, False]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Failure("timeout", "node 'a' took longer than 1 s", "a"), ": node 'a' took longer than 1 s [timeout]"),
        (Failure("rate_limited", "slow down", "a"), ": node 'a': slow down [rate_limited]"),
        (Failure("run_timeout", "the run took too long"), ": the run took too long [run_timeout]"),
    ],
)
def test_a_failure_names_its_node_once(capsys: pytest.CaptureFixture[str], failure: Failure, said: str) -> None:
    print_result(RunSummary(status="failed", error=failure))
    assert capsys.readouterr().err == f"failed in 0.0 ms, 0 steps{said}\n"
