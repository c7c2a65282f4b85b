"""`flowyard cost-report` and `flowyard profile-report`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from flowyard_cli.main import build_parser
from flowyard_cli.show.format import cost, dollars, percent, tokens
from support.ledger import Book
from support.remote import Remote, open_remote


@pytest.fixture
async def remote(database_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[Remote]:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.applied()
        yield remote


async def book(remote: Remote) -> Book:
    await remote.cli("run", "poem", "-i", "topic=rain", "--detach")
    return Book(remote.hands.committer, await remote.hands.take())


def row(out: str, name: str) -> list[str]:
    """Of a table: cells are two blanks apart."""
    (row,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


async def test_costs_are_shown_in_words_with_the_most_expensive_marked(remote: Remote) -> None:
    written, now = await book(remote), datetime.now(UTC)
    await written.call(model="large", cost="0.00000000012", at=now, tokens=(1200, 5, None))
    await written.call(model="small", cost="0.00000000004", at=now, first_token_s=0.2)
    out = (await remote.cli("cost-report")).out
    large = ["openai/large", "1", "0", "1,200", "5", "unknown", "$0.00000000012", "1.0 s", "1.0 s", "-"]
    assert row(out, "openai/large") == [*large, "<- most expensive"]
    assert row(out, "openai/small")[6:] == ["$0.00000000004", "1.0 s", "1.0 s", "0.2 s"]
    assert row(out, "total")[1:4] == ["2", "0", "1,210"]
    assert "2 model calls since" in out
    assert "$0.00000000016" in out
    assert "most expensive: openai/large, $0.00000000012, 75.0 % of all" in out


async def test_unknown_costs_are_said_to_be_unknown(remote: Remote) -> None:
    written, now = await book(remote), datetime.now(UTC)
    await written.call(model="known", cost="0.12", at=now)
    await written.call(model="known", cost=None, tokens=(None, None, None), at=now)
    await written.call(model="unknown", cost=None, tokens=(None, None, None), at=now)
    out = (await remote.cli("cost-report")).out
    assert row(out, "openai/known")[3:7] == ["≥ 10", "≥ 5", "unknown", "≥ $0.12 (1 call unknown)"]
    assert row(out, "openai/unknown")[3:7] == ["unknown", "unknown", "unknown", "unknown"]
    assert "3 model calls since" in out
    assert ": ≥ $0.12 (2 calls unknown)\n" in out
    assert "most expensive: openai/known, $0.12, 100.0 % of what is known" in out


async def test_where_nothing_cost_anything_nothing_is_the_most_expensive(remote: Remote) -> None:
    assert (await remote.cli("cost-report")).out.startswith("no model calls since ")
    assert "of workflow haiku" in (await remote.cli("cost-report", "--workflow", "haiku")).out
    await (await book(remote)).call(cost="0", at=datetime.now(UTC))
    out = (await remote.cli("cost-report")).out
    assert "most expensive" not in out
    assert row(out, "total")[6] == "$0"


async def test_costs_are_grouped_and_limited_by_the_options(remote: Remote) -> None:
    written, now = await book(remote), datetime.now(UTC)
    for node, amount in (("draft", "1"), ("write", "2"), ("read", "3")):
        await written.call(node=node, cost=amount, at=now)
    await written.call(node="old", cost="9")
    report = json.loads((await remote.cli("cost-report", "--by", "node", "--limit", "2", "--json")).out)
    assert [group["group"] for group in report["items"]] == ["poem.read", "poem.write"]
    assert report["most_expensive"] == ["poem.read"]
    assert (report["total"]["cost_usd"], report["group_count"]) == ("6", 3)
    out = (await remote.cli("cost-report", "--by", "node", "--limit", "2")).out
    assert "1 more group not shown: see --limit" in out
    since_then = json.loads((await remote.cli("cost-report", "--since", "2026-01-01", "--json")).out)
    assert since_then["total"]["cost_usd"] == "15"
    out = (await remote.cli("cost-report", "--by", "run", "--since", "1h")).out
    assert row(out, str(written.claim.run_id))[6] == "$6.00"


async def ran(remote: Remote) -> str:
    run_id = (await remote.cli("run", "poem", "-i", "topic=rain", "--detach")).out.strip()
    claim = await remote.hands.take()
    await remote.hands.append(claim, "run.claimed", attempt=1, executor="hands")
    await remote.hands.step(claim, "draft", {"draft": "d"})
    await remote.hands.succeed(claim, {"poem": "p"})
    return run_id


async def test_the_profile_of_a_run_is_shown_with_its_bottleneck_in_words(remote: Remote) -> None:
    run_id = await ran(remote)
    out = (await remote.cli("profile-report", "--run", run_id[:8], "--threshold", "0")).out
    for name in ("queued", "claim", "model", "tool", "code", "commit", "waiting"):
        assert len(row(out, name)) == 3
    assert row(out, "total")[2] == "100.0 %"
    assert row(out, "draft")[-1] == "<- bottleneck"
    assert "\nbottleneck: draft took " in out
    out = (await remote.cli("profile-report", "--run", run_id, "--threshold", "1")).out
    assert row(out, "draft")[-1] == "<- slowest"
    assert "no bottleneck: no node took more than 100.0 %; draft took " in out
    as_json = json.loads((await remote.cli("profile-report", "--run", run_id, "--json")).out)
    assert sum(map(Decimal, map(str, as_json["spent_s"].values()))) == Decimal(str(as_json["wall_s"]))


async def test_a_queued_run_has_a_profile_without_nodes(remote: Remote) -> None:
    run_id = (await remote.cli("run", "poem", "-i", "topic=rain", "--detach")).out.strip()
    out = (await remote.cli("profile-report", "--run", run_id)).out
    assert "no steps yet" in out
    assert "so far" in out


async def test_profiles_of_many_runs_are_shown_with_the_slowest_marked(remote: Remote) -> None:
    assert (await remote.cli("profile-report")).out.startswith("no finished runs that were submitted since ")
    run_ids = [await ran(remote) for _ in range(2)]
    out = (await remote.cli("profile-report", "--workflow", "poem", "--threshold", "0.01")).out
    assert out.startswith("2 finished runs of workflow poem, submitted since ")
    assert len(row(out, "wall time")) == 5
    assert row(out, "poem.draft")[-1] == "<- bottleneck"
    assert sorted(row(out, run_id)[-1] for run_id in run_ids) == ["<- slowest", "draft"]
    assert "bottleneck of poem: draft took " in out
    out = (await remote.cli("profile-report", "--threshold", "1")).out
    assert "no bottleneck: no node took more than 100.0 % of its workflow's time at work" in out
    assert json.loads((await remote.cli("profile-report", "--json", "--limit", "1")).out)["runs"] == 1


WRONG = [
    (["cost-report", "--since", "yesterday"], "'yesterday' should be a duration such as 7d, 24h or 30m"),
    (["cost-report", "--since", "2026-11-23T00:00:00"], "has no time zone"),
    (["cost-report", "--limit", "0"], "should be a number from 1 to 1000"),
    (["profile-report", "--threshold", "2"], "should be a share from 0 to 1, not '2'"),
    (["profile-report", "--run", "019adf3c", "--workflow", "poem"], "not allowed with argument"),
]


@pytest.mark.parametrize(("args", "said"), WRONG, ids=[" ".join(args) for args, _ in WRONG])
def test_a_report_of_something_impossible_is_refused(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser(args[0]).parse_args(args)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_amounts_have_all_their_digits_and_no_others() -> None:
    amounts = {"0": "$0", "0.000": "$0", "1": "$1.00", "1.5": "$1.50", "0.00012300": "$0.000123", "12.345": "$12.345"}
    assert {amount: dollars(amount) for amount in amounts} == amounts
    assert dollars(f"{Decimal('1E-20'):f}") == "$0.00000000000000000001"
    assert [cost("0.10", 0), cost("0.10", 3), cost("0", 3)] == ["$0.10", "≥ $0.10 (3 calls unknown)", "unknown"]
    assert [tokens(1200, 1200), tokens(None, 1200), tokens(None, 0)] == ["1,200", "≥ 1,200", "unknown"]
    shares = {0.0: "0.0 %", 1.0: "100.0 %", 0.00001: "< 0.1 %", 0.99999: "> 99.9 %", 0.25: "25.0 %"}
    assert {share: percent(share) for share in shares} == shares
